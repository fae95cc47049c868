"""The sections that a reviewer reads: doubts, assumptions, checks, and what is prior and what is data."""

import json

import numpy as np
import xarray as xr

from bayescale import plots
from bayescale.drift import MODES
from bayescale.forecast import predict, returns, summarise
from bayescale.forecast.held import hold_given
from bayescale.forecast.path import PATHS, resolve_path
from bayescale.forecast.sensitivity import DOMINATED, prior_sensitivity
from bayescale.report.content import Blocks, Picture, Table
from bayescale.report.question import Case
from bayescale.report.words import decades, listed, number, percent, spread

#: What the parameters say that belong to no law.
_OTHERS = {
    "level": "loss at the reference scale",
    "sigma": "scatter of a run's log loss at the reference scale",
    "nu": "degrees of freedom of the scatter",
    "excess": "share by which a run lies above the law for want of tuning",
    "noise_slope": "change of log10 of the scatter a decade",
    "drift_rate": "share by which the elasticity may change a decade",
    "break_rate": "breaks of the elasticity in a decade",
    "break_change": "share by which the elasticity changes at a break",
}
#: Those of them that decide how wide bands are far beyond the runs.
_DRIFT = ("drift_rate", "break_rate", "break_change")


def doubts(case: Case) -> Blocks:
    """Every note of the fit and of the answers."""
    yield case.notes or "None was noted."


def assumptions(case: Case) -> Blocks:
    """What the answer assumes, in a sentence each."""
    saved, model, asked = case.saved, case.saved.model, case.asked
    runs = case.runs[case.column].values.astype(float)
    low, high = float(np.nanmin(runs)), saved.largest
    reach = np.log10(case.beyond / high)
    answer = f"{decades(reach)} beyond them" if reach > 0 else "among them"
    yield (
        f"The runs span {decades(np.log10(high / low))}{'' if case.unit else f' of {case.column}'}, {number(low)} to "
        f"{number(high)}{case.unit}{f'; the answer lies {answer}' if case.grows else ''}."
    )
    rows = [("law", f"{saved.law.title}: {saved.law.equation} ({saved.law.source})")]
    rows.append(
        (
            "may the law be wrong?",
            "yes: its slope may drift with scale"
            f"{', and may break beyond the runs' if model.discrepancy.breaks else ''}, "
            "so it holds where the runs are and ever more loosely beyond them"
            if model.discrepancy is not None
            else "no: it is trusted exactly at every scale; if it is wrong beyond the runs, the intervals are too "
            "narrow",
        )
    )
    if case.grows:
        kind = str(resolve_path(hold_given(saved, asked.at), asked.path))
        meaning = PATHS.get(kind.partition("=")[0], PATHS.get(f"{kind.partition('=')[0]}=", ""))
        rows.append(("how scale grows", f"{kind}: {meaning}"))
    rows.append(("loss", f"in {saved.units}, on the data and the tokenizer of the runs"))
    noise = {
        "Normal": "Normal",
        "StudentT": "Student's t, so that outliers count less",
        "ExGaussian": "Normal with an exponential excess, so that the law is what well-tuned runs reach",
        "LogitNormal": "Normal in the logit, about the law as the median",
        "Beta": "beta distributed about the law",
        "BetaBinomial": "of counted trials, by more than their number explains",
        "Binomial": "of counted trials, by no more than their number explains",
    }[model.noise.dist]
    of = "the rate that the loss is" if model.noise.of_rate else "log loss"
    if model.noise.slope is not None:
        noise += "; wider or narrower by scale, beyond the runs too"
    if model.noise.known is not None:
        noise += f"; beside the known errors in column {model.noise.known}"
    rows.append(("scatter of runs", f"of {of}; {noise}"))
    if saved.pooled:
        who = "a group that has no runs yet" if asked.family is None else asked.family
        rows.append(
            ("whose curve", f"pooled over {', '.join(saved.pooled)}; this answer is for {who}")
        )
    if case.held:
        rows.append(("other inputs", case.held))
    yield Table("What the answer assumes", ("what", "here"), tuple(rows))
    yield "The model file, with every prior, stands word for word at the end."


def trust(case: Case) -> Blocks:
    """The sampler's verdict, the checks, and what the law leaves over."""
    tried = json.loads(case.fit.attrs.get("sampling", "[]"))
    times = f" at setting {len(tried)} of those tried" if len(tried) > 1 else ""
    if case.fit.attrs["converged"]:
        yield f"The sampler converged{times}: its chains agree, and enough independent draws are left."
    else:
        yield "The sampler did not converge: do not rest a decision on any number of this report."
    fitted = summarise(predict(case.fit, case.runs))
    try:
        table = case.checks
    except ValueError as error:
        yield f"The checks could not be made: {error}."
    else:
        rows = [
            (str(name), number(row["value"], 4), row["threshold"], row["verdict"], row["advice"])
            for name, row in table.iterrows()
        ]
        header = ("check", "value", "expected", "verdict", "what to do")
        yield Table("Checks of the sampler and of the fit", header, tuple(rows))
        if "prior sensitivity" in table.index:
            yield (
                "The check 'prior sensitivity' is a distance: how far the whole distribution of a parameter moves when "
                "all priors are raised to a power. What is called 'moved by the prior' below is another measure, of "
                "mean and spread, with a limit of its own."
            )
    yield Picture(
        plots.plot_residuals(case.runs, fitted),
        "What the law leaves over. A trend would be a law that bends otherwise than the runs do.",
    )


def prior(case: Case) -> Blocks:
    """How the answers and the parameters moved from before the runs to after them."""
    if case.grows:
        yield from _answers_before(case)
    yield from _parameters(case)


def _answers_before(case: Case) -> Blocks:
    """The answers of the prior beside those of the posterior."""
    unit, worth = case.saved.units, case.worth
    where = f"at {number(case.beyond)}{case.unit}"
    named = {
        "gain": f"gain of {case.asked.step:g}x {where} [{unit}]",
        "loss": f"loss {where} [{unit}]",
    }
    named["elasticity"] = f"elasticity {where}"
    after = case.one.isel(flops=0)
    before = _before(case)
    if before is not None:
        shares = [float((each["gain"] < worth).mean()) for each in (before, after)]
        yield (
            f"Before it saw the runs, the model gave {percent(shares[0], 1 / before['gain'].size)} to a gain of less "
            f"than {worth:g} {where}; with them, {percent(shares[1])}."
        )
        old = summarise(before[list(named)])
    now = summarise(after[list(named)])
    rows = []
    for name, label in named.items():
        told = "–" if before is None else spread(old[name])
        rows.append((label, told, spread(now[name]), *_sensitivity(case, after[name])))
    yield Table(
        "The answers before and after the runs, and how they move with the prior and with the runs",
        ("answer", "before the runs", "with the runs", "moved by the prior", "moved by the runs"),
        tuple(rows),
    )
    yield (
        f"Moved by: standard deviations by which the mean, or shares by which the spread, changes for a unit of the "
        f"power that the prior or the likelihood is raised to (arXiv 2107.14054). Above {DOMINATED:g} for the prior, "
        "an answer rests in part on the prior. It is not the distance of the check 'prior sensitivity' above."
    )


def _before(case: Case) -> xr.Dataset | None:
    """Marginal returns at the scale asked about, as the model saw them before the runs."""
    if "prior" not in case.fit.children:
        return None
    drawn = case.fit["prior"].to_dataset()
    if case.saved.model.discrepancy is not None and "drift" not in drawn:
        rng = np.random.default_rng([int(case.fit.attrs["seed"]), 2])
        shape = (drawn.sizes["chain"], drawn.sizes["draw"], MODES)
        # Weights of the drift's eigenfunctions, whose prior is standard Normal: see bayescale.drift.
        drawn = drawn.assign(drift=(("chain", "draw", "mode"), rng.standard_normal(shape)))
    kept = {name: case.fit[name].to_dataset() for name in ("constant_data", "observed_data")}
    tree = xr.DataTree.from_dict({"posterior": drawn, **kept})
    tree.attrs = dict(case.fit.attrs)
    found = returns(tree, flops=[case.beyond], step=case.asked.step, **case.route)
    return found.isel(flops=0)


def _sensitivity(case: Case, draws: xr.DataArray) -> tuple[str, str]:
    """Sensitivity to the prior and to the runs: the larger of that of the mean and of the spread."""
    try:
        found = prior_sensitivity(case.fit, draws)
    except ValueError:  # A fit without its log densities.
        return "–", "–"
    told = []
    for component in ("prior", "likelihood"):
        here = found.sel(component=component)
        told.append(number(max(abs(float(here["mean"])), abs(float(here["log_sd"]))), 2))
    return told[0], told[1]


def _parameters(case: Case) -> Blocks:
    law = case.saved.law
    posterior = case.fit["posterior"].to_dataset()
    known = {law.posterior_name(each.name): (each.meaning, each.unit) for each in law.params}
    meanings = known | {name: (said, "1") for name, said in _OTHERS.items()}
    meanings["level"] = (_OTHERS["level"], case.saved.units)
    if case.saved.model.noise.of_rate:
        what = (
            "logit"
            if case.saved.model.noise.dist == "LogitNormal"
            else "rate, in those of one trial"
        )
        meanings["sigma"] = (f"scatter of a run's {what}, at the reference scale", "1")
    for name, pool in case.saved.model.pool.items():
        for each in pool.effects(law.posterior_name(name)):
            meanings[each.sd_name] = (f"spread of {name} between values of {each.pool.over}", "1")
    names = [name for name in meanings if name in posterior and posterior[name].ndim == 2]
    before = case.fit["prior"].to_dataset() if "prior" in case.fit.children else xr.Dataset()
    now = summarise(posterior[names])
    old = summarise(before[[name for name in names if name in before]])
    rows = []
    for name in names:
        meaning, unit = meanings[name]
        told = spread(old[name]) if name in old else "–"
        label = f"{meaning}{'' if unit == '1' else f' [{unit}]'}"
        rows.append((name, label, told, spread(now[name]), *_sensitivity(case, posterior[name])))
    header = (
        "parameter",
        "meaning",
        "prior",
        "posterior",
        "moved by the prior",
        "moved by the runs",
    )
    yield Table("Parameters before and after the runs", header, tuple(rows))
    drawn = [name for name in names if name in before]
    wide = [name for name in _DRIFT if name in drawn]
    shown = [*[name for name in drawn if name not in wide][:6], *wide]
    if shown:
        yield Picture(
            plots.plot_prior(case.fit, shown),
            "Posterior over prior: where they agree, the runs have said nothing."
            + (
                f" How wide the bands are far beyond the runs hangs on {listed(wide)}."
                if wide
                else ""
            ),
        )
