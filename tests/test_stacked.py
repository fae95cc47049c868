"""Averages of several fits: what a member too small to give a draw leaves to the others."""

import pytest
from fake_fit import fake_fit

from bayescale import diminishing, stack


def test_what_is_certain_is_certain_whatever_a_member_too_small_to_draw() -> None:
    fits = {name: fake_fit("chinchilla", draws=20, jitter=0.01, seed=0) for name in ("a", "b", "c")}
    small = stack(fits, weights={"a": 0.49, "b": 0.49, "c": 0.02})
    found = diminishing(small, beyond=1e24, gain_below=10.0)
    assert float(found["probability"]) == pytest.approx(1.0)
    assert float(found["weight"].sum()) == pytest.approx(1.0)
