"""Can this fit be trusted? One table of verdicts, each with its threshold and what to do."""

import warnings
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr
from arviz_stats import loo, psense

from bayescale.checks import sampler

Verdict = Literal["ok", "warn", "fail"]
#: Name, value, threshold, verdict, code and advice of a check.
type Row = tuple[str, float, str, Verdict, str, str]
VERDICTS: tuple[Verdict, ...] = ("ok", "warn", "fail")
#: Power-scaling sensitivity above which a posterior is said to move with its prior: Kallioinen et al. 2021, 2107.14054.
PRIOR_SENSITIVITY_MAX = 0.05
#: Parameters that move with their priors, of which so many are named.
NAMED = 5
INTERVAL = 0.9
#: Fewer draws of a chain tell nothing about it.
LEAST_DRAWS = 10
GROUPS = (
    "posterior",
    "sample_stats",
    "log_likelihood",
    "log_prior",
    "posterior_predictive",
    "observed_data",
    "constant_data",
)


def check(fit: xr.DataTree, *, strict: bool = False) -> pd.DataFrame:
    """Judge a fit: its sampler, how the model meets the runs, and what rests on the prior.

    Parameters
    ----------
    fit : xr.DataTree
        From :func:`bayescale.fit` or :func:`bayescale.load`.
    strict : bool
        Raise instead of returning a table whose overall verdict is ``fail``.

    Returns
    -------
    pandas.DataFrame
        One row a check: value, threshold, verdict (``ok``, ``warn``, ``fail``), advice and, where it is not ``ok``,
        a ``code`` of :data:`bayescale.notes.CODES` for scripts. ``attrs["verdict"]`` is the worst. *How to read it*:
        with a ``fail`` no interval of the fit may be used; a ``warn`` says what an answer rests on.

    Raises
    ------
    ValueError
        If the fit lacks a group, is a stack, or has next to no draws.
    RuntimeError
        With ``strict``, if a check fails.

    Examples
    --------
    >>> import bayescale as bs
    >>> table = check(bs.fit(bs.load_dataset("pile"), "chinchilla-families", random_seed=1))
    >>> str(table.loc["R-hat", "verdict"])
    'ok'
    """
    if "stack" in fit.attrs:
        raise ValueError(
            "a check is of one fit, and this is a stack, which averages several: check each of its members"
        )
    missing = [name for name in GROUPS if name not in fit.children]
    if missing:
        raise ValueError(
            f"fit has no group {' and '.join(missing)}; give it whole, as bayescale.fit returned or saved it"
        )
    draws = fit["posterior"].sizes.get("draw", 1)
    if draws < LEAST_DRAWS:
        raise ValueError(
            f"fit has {draws} draw{'s' if draws > 1 else ''} a chain: convergence cannot be judged with fewer than "
            f"{LEAST_DRAWS}; check the fit before it is cut"
        )
    rows = [*_sampler_rows(fit), *_fit_rows(fit), _prior_row(fit)]
    table = pd.DataFrame(
        rows, columns=["check", "value", "threshold", "verdict", "code", "advice"]
    ).set_index("check")
    worst = max(table["verdict"], key=VERDICTS.index)
    table.attrs["verdict"] = worst
    if strict and worst == "fail":
        failed = table.index[table["verdict"] == "fail"]
        raise RuntimeError(f"the fit fails: {', '.join(failed)}; see check(fit) for what to do")
    return table


def _sampler_rows(fit: xr.DataTree) -> list[Row]:
    stats = fit["sample_stats"].to_dataset()
    found = sampler.judge(fit["posterior"].to_dataset(), stats)
    longer = "fit again with more draws; if it stays, the runs cannot tell parameters apart: tighten priors"
    rows = [
        ("R-hat", found.rhat, "<=", sampler.RHAT_MAX, f"worst is {found.worst}; {longer}"),
        ("bulk ESS", found.ess_bulk, ">=", sampler.ESS_MIN, longer),
        ("tail ESS", found.ess_tail, ">=", sampler.ESS_MIN, longer),
    ]
    if "diverging" in stats:
        rows.append(
            (
                "divergences",
                found.divergences,
                "<=",
                float(np.floor(sampler.DIVERGENT_MAX * found.draws)),
                "a part of the posterior was not reached: simplify the model or pool less",
            )
        )
    if np.isfinite(found.bfmi):
        rows.append(
            ("E-BFMI", found.bfmi, ">=", sampler.BFMI_MIN, "heavy tails: tighten the noise priors")
        )
    judged = [
        _judged(name, value, sign, limit, "fail", "not_converged", advice)
        for name, value, sign, limit, advice in rows
    ]
    if sampler.EVIDENCE in stats:
        evidence = stats[sampler.EVIDENCE]
        judged.append(
            _judged(
                "log marginal likelihood, sd of chains",
                float(evidence.std(ddof=1)),
                "<=",
                sampler.EVIDENCE_SD_MAX,
                "warn",
                "evidence_uncertain",
                f"the mean is {float(evidence.mean()):.1f}; fit again with more draws before models are compared by it",
            )
        )
    return judged


def _judged(
    name: str, value: float, sign: str, limit: float, otherwise: Verdict, code: str, advice: str
) -> Row:
    passes = value <= limit if sign == "<=" else value >= limit
    return (
        name,
        float(value),
        f"{sign} {limit:g}",
        "ok" if passes else otherwise,
        "" if passes else code,
        "" if passes else advice,
    )


def _fit_rows(fit: xr.DataTree) -> list[Row]:
    with warnings.catch_warnings():
        # The k-hat verdict below says the same with the runs' names.
        warnings.simplefilter("ignore", UserWarning)
        score = loo(fit, var_name="loss", pointwise=True)
    khat = score.pareto_k.values
    worst = int(np.argmax(khat))
    runs = fit["constant_data"].to_dataset()
    name = str(runs["run_id"].values[worst]) if "run_id" in runs else f"row {worst + 1}"
    observed = fit["observed_data"]["loss"]
    replicated = (
        fit["posterior_predictive"]["loss"]
        .stack(sample=("chain", "draw"))
        .transpose("run", "sample")
    )
    # Between two draws of a count there is nothing to interpolate; minus the log of no success is infinite.
    lower, upper = np.quantile(
        replicated.values, [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2], axis=1, method="inverted_cdf"
    )
    inside = float(np.mean((observed.values >= lower) & (observed.values <= upper)))
    # Two binomial standard errors below nominal; over-coverage of the very runs that were fitted is expected.
    limit = INTERVAL - 2 * np.sqrt(INTERVAL * (1 - INTERVAL) / observed.size)
    return [
        _judged(
            "PSIS-LOO k-hat",
            float(khat[worst]),
            "<=",
            float(score.good_k),
            "warn",
            "influential_runs",
            _deciding(name, int((khat > score.good_k).sum())),
        ),
        _judged(
            "coverage of the runs",
            inside,
            ">=",
            round(float(limit), 3),
            "warn",
            "lack_of_fit",
            f"{1 - inside:.0%} of the runs lie outside their own 90 % interval: the law or its noise does not fit",
        ),
    ]


def _deciding(name: str, count: int) -> str:
    if count > 1:
        return (
            f"{count} runs each decide part of the fit, most of all {name}: look at them, or fit without them and "
            "compare"
        )
    return f"{name} alone decides part of the fit: look at it, or fit without it and compare"


def _prior_row(fit: xr.DataTree) -> Row:
    prior = fit["log_prior"].data_vars
    sensitivity = dict.fromkeys(prior, 0.0)
    if any(
        float(values.std()) > 0 for values in prior.values()
    ):  # Raised to a power, a flat prior is itself.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            table = psense(fit, var_names=list(prior), group="prior")
        sensitivity = {name: float(values.max()) for name, values in table.data_vars.items()}
    # The most sensitive first.
    ranked = sorted(map(str, sensitivity), key=lambda name: -sensitivity[name])
    moved = [name for name in ranked if sensitivity[name] > PRIOR_SENSITIVITY_MAX]
    # What a group's offset is drawn from is how a model spreads groups: no prior that anybody would state.
    moved = [name for name in moved if not name.endswith("_offset")] or moved
    return _judged(
        "prior sensitivity",
        sensitivity[ranked[0]],
        "<=",
        PRIOR_SENSITIVITY_MAX,
        "warn",
        "prior_dominated",
        _moving(moved or ranked[:1]),
    )


def _moving(names: list[str]) -> str:
    then = "and read the prior-dependence of each answer"
    if len(names) == 1:
        return f"{names[0]} moves with its prior: state that prior with care, {then}"
    shown = [*names[:NAMED], *([f"{len(names) - NAMED} more"] if len(names) > NAMED else [])]
    told = f"{', '.join(shown[:-1])} and {shown[-1]}"
    return f"{told} move with their priors: state those priors with care, {then}"
