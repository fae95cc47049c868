"""Law of routed experts: ``log L = log A - a log N - b log X + c log N log X``.

Clark et al. 2022 (arXiv 2202.01169), for models trained on one number of tokens. X is a number of
experts that saturates at both ends, ``1/X = 1 / (E - 1 + 1 / (1/E_start - 1/E_max)) + 1/E_max``: it
is E_start without routing and E_max with experts without end. The paper's coefficients, of log10,
are ``-a``, ``-b``, ``log(10) * c`` and ``log10(A)``.

Because c is positive, experts help less the larger the model, and above ``N = exp(b / c)`` they do
harm: the loss neither falls with every input everywhere nor tends to one limit.
"""

from typing import Any

import numpy as np

from bayescale.laws._law import Input, Law, Param
from bayescale.laws._math import power


def effective_experts(experts: Any, E_start: Any, E_max: Any) -> Any:
    """Number of experts that counts: E_start for one expert, E_max for endless ones."""
    return 1 / (1 / (experts - 1 + 1 / (1 / E_start - 1 / E_max)) + 1 / E_max)


def loss(
    params: Any, experts: Any, *, A: Any, a: Any, b: Any, c: Any, E_start: Any, E_max: Any
) -> Any:
    """Loss at parameters given as a ratio to the reference and a number of experts."""
    log_params = np.log(params)
    log_experts = np.log(effective_experts(experts, E_start, E_max))
    return A * np.exp(-a * log_params - b * log_experts + c * log_params * log_experts)


def split(level: Any, shares: list[Any], *, b: Any, E_start: Any, **_: Any) -> dict[str, Any]:
    """Amplitude of a single effective expert; the level is that of a dense model."""
    return {"A": level * shares[0] * power(E_start, b)}


def textbook(
    reference: dict[str, float], *, A: Any, a: Any, b: Any, c: Any, **_: Any
) -> dict[str, Any]:
    """Amplitude and exponent of experts at one parameter."""
    return {"A": A * reference["params"] ** a, "b": b + c * np.log(reference["params"])}


LAW = Law(
    name="moe",
    title="Law of parameters and routed experts",
    group="What changes the model",
    question="What do more experts buy, and up to which size of model?",
    equation="L = A * N^-a * X^(-b + c * log(N)), "
    "1/X = 1 / (experts - 1 + 1 / (1/E_start - 1/E_max)) + 1/E_max",
    latex=(
        r"\log L = \log A - a\log N - b\log\hat{E} + c\log N\log\hat{E},\quad "
        r"\frac{1}{\hat{E}} = \frac{1}{E - 1 + \left(1/E_{\mathrm{start}} - 1/E_{\max}\right)^{-1}}"
        r" + \frac{1}{E_{\max}}"
    ),
    source="Clark et al. 2022, arXiv 2202.01169",
    inputs=(
        Input("params", "parameters of the dense model, or active in one token", "parameters"),
        Input("experts", "experts in a routed layer; 1 is dense", "1", reference=1.0, lower=1.0),
    ),
    params=(
        Param("A", "loss of a single effective expert, at the reference scale", "nat/token"),
        Param(
            "a",
            "exponent of parameters, for a single effective expert",
            "1",
            # .082 to .083 in the paper.
            prior={"dist": "LogNormal", "kwargs": {"median": 0.08, "sigma": 0.3}},
        ),
        Param(
            "b",
            "exponent of effective experts, at the reference scale",
            "1",
            # The paper's law gives .030 to .040 at 1e8 parameters, for its three ways to route.
            prior={"dist": "LogNormal", "kwargs": {"median": 0.03, "sigma": 0.6}},
            relative=True,
        ),
        Param(
            "c",
            "loss of the exponent of experts per e-fold of parameters",
            "1",
            # .009 to .012 per decade in the paper.
            prior={"dist": "LogNormal", "kwargs": {"median": 0.0045, "sigma": 0.5}},
        ),
        Param(
            "E_start",
            "effective experts of a dense model",
            "1",
            # 1.8 to 4.2 in the paper.
            prior={"dist": "LogNormal", "kwargs": {"median": 2.0, "sigma": 0.5}},
        ),
        Param(
            "E_max",
            "effective experts that endless experts amount to",
            "1",
            # 314 to 478 in the paper, with up to 512 experts.
            prior={"dist": "LogNormal", "kwargs": {"median": 350.0, "sigma": 0.5}},
        ),
    ),
    loss=loss,
    terms=("A",),
    split=split,
    textbook=textbook,
    floor=None,
    falls_in=(),
    has_limit=False,
)
