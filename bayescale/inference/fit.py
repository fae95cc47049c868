"""Sample a model, judge the result, and try more carefully before giving up."""

import json
import os
import sys
import time
from dataclasses import asdict, dataclass, replace
from typing import Literal, get_args

import numpy as np
import pymc as pm
import xarray as xr

from bayescale.checks.sampler import (
    EVIDENCE,
    EVIDENCE_SD_MAX,
    SamplerVerdict,
    judge,
    modes,
    scalars,
)
from bayescale.inference import smc
from bayescale.inference.arrays import graph_data, log_jacobian, samples_drift
from bayescale.inference.build import build
from bayescale.inference.centring import centered, decide, undecided
from bayescale.inference.checkpoints import average_checkpoints
from bayescale.inference.collapse import grid
from bayescale.inference.columns import check_columns, check_table
from bayescale.inference.compile import Compiled, compile_model, nutpie_model, unconstrain
from bayescale.inference.minima import fill_minima
from bayescale.inference.prior import draw_prior
from bayescale.inference.tree import groups, with_facts
from bayescale.model import Model, default_model, with_input
from bayescale.notes import Note, dump_notes, get_notes
from bayescale.runs import design_notes

#: Statistics of the sampler that are kept, by the names of ArviZ's schema, and what nutpie calls four of them.
STATS = (
    "acceptance_rate",
    "diverging",
    "energy",
    "lp",
    "n_steps",
    "reached_max_treedepth",
    "step_size",
    "tree_depth",
)
NUTPIE_STATS = {
    "depth": "tree_depth",
    "logp": "lp",
    "maxdepth_reached": "reached_max_treedepth",
    "mean_tree_accept": "acceptance_rate",
}

SamplerName = Literal["nutpie", "pymc", "numpyro", "smc"]


@dataclass(frozen=True)
class Attempt:
    """Settings of one sampling attempt; ``thin`` draws are made for each one kept."""

    adaptation: Literal["low_rank", "diag"]
    target_accept: float
    tune: int
    thin: int = 1


#: Tried in order until one converges. Low-rank adaptation is an order of magnitude faster on a well-informed
#: posterior; on a banana (29 runs of five families) the first rung passed for none of 6 seeds, the second for all.
#: Families that drift, and ten smooth runs that leave the noise next to unknown, need the smaller steps of the third;
#: the last pays for a run ten times as long.
LADDER: tuple[Attempt, ...] = (
    Attempt("low_rank", 0.9, 1000),
    Attempt("low_rank", 0.98, 1000, thin=2),
    Attempt("low_rank", 0.995, 1500, thin=4),
    Attempt("diag", 0.997, 3000, thin=8),
)
#: First rung in its place where a law drifts: of 19 public learning curves 2 pass the first above and 14 this one,
#: which costs half as much again.
DRIFTING = Attempt("low_rank", 0.95, 700, thin=2)
#: First rung in its place where the rate of a drift is summed out: what is left is smooth, and takes long steps. Of 36
#: fits to 5 to 235 runs all passed, in half the time of the first rung above, which one did not. The rate's draws are
#: worth an eighth of their number, or more: fewer draws than 1,000 are thinned from so many.
COLLAPSED, COLLAPSED_DRAWS = Attempt("low_rank", 0.8, 500), 1000
#: The second there. Runs of one ratio of tokens to parameters leave the terms of the law open, and chains slow: of six
#: sweeps of eight such runs four need it, and it takes half the time of the rung that follows.
LONGER = replace(LADDER[0], thin=2)
#: A first run, by offsets, that tells how groups are best sampled.
FIRST, FIRST_DRAWS, FIRST_CHAINS = Attempt("low_rank", 0.8, 300), 200, 2


def fit(
    runs: xr.Dataset,
    model: str | Model | None = None,
    *,
    draws: int = 1000,
    chains: int = 4,
    cores: int | None = None,
    random_seed: int | None = None,
    sampler: SamplerName = "nutpie",
    progress: bool = False,
    discrepancy: Literal["drift", "none"] | None = None,
) -> xr.DataTree:
    """Fit a scaling law to a table of runs.

    Parameters
    ----------
    runs : xr.Dataset
        From :func:`bayescale.read_runs`; dim ``run``.
    model : str or Model, optional
        Name of a shipped model, path of a model file, or a :class:`~bayescale.model.Model`. Left out, the default
        for the columns at hand is taken and a note says which.
    draws, chains : int
        Draws kept of each chain, and chains.
    cores : int, optional
        Chains sampled at once; by default as many as the machine has.
    random_seed : int, optional
        Same seed, same numbers, once a machine has compiled the model: code that is compiled and code that is read
        back from the disk may round differently, and other draws of the same posterior follow. Left out, one is drawn
        and kept in the tree.
    sampler : {"nutpie", "pymc", "numpyro", "smc"}
        Who draws. The density is the same. ``smc`` is sequential Monte Carlo: slower, with no gradient; for posteriors
        of several modes, and for ``log_marginal_likelihood`` (dim ``chain``) in the group ``sample_stats``. Only
        ``nutpie`` decides by the runs how groups are sampled where the model file leaves ``centered`` out, sums the
        rate of a drift that may be zero out of what it samples, and leaves a law that breaks to ``smc`` where its
        chains do not agree.
    progress : bool
        Show a progress bar.
    discrepancy : {"drift", "none"}, optional
        Let the law's slope drift, or trust the law exactly, whatever the model file says.

    Returns
    -------
    xr.DataTree
        ArviZ's groups: posterior, prior, sample_stats, log_likelihood, log_prior, posterior_predictive,
        observed_data, constant_data. The root attributes carry the model file, reference scale, seed, versions,
        notes, ``converged``, ``sampler`` (who drew what was kept), and in ``centered``, as JSON, the groups that were
        sampled by their own value. *How to read it*: look at ``converged`` and the notes before any number.

    Raises
    ------
    ValueError
        If the table cannot feed the model, the model says something else than its file, or a setting makes no sense.
    KeyboardInterrupt
        If sampling is interrupted; nothing is kept.

    Examples
    --------
    >>> import bayescale as bs
    >>> tree = bs.fit(bs.load_dataset("pile"), "chinchilla-families", random_seed=1)
    >>> tree.attrs["converged"], dict(tree.posterior.sizes)["draw"]
    (1, 1000)
    """
    check_settings(draws, chains, sampler, random_seed)
    check_table(runs)
    notes = get_notes(runs)
    if model is None:
        model, note = default_model(runs)
        notes.append(note)
    model = Model.load(model)
    # A fit carries the file, and forecasts are made from it. One without a name has that of its path.
    if replace(Model.from_toml(model.text), name=model.name) != model:
        raise ValueError(
            f"model {model.name!r} says something else than its file, as after dataclasses.replace; change it by "
            "model.changed(priors=...), which writes the file anew"
        )
    model = with_input(runs, model)
    if discrepancy is not None:
        model = model.with_discrepancy(discrepancy)
    check_columns(runs, model)
    notes += _raised_since(runs)
    runs, filled = fill_minima(runs, model)
    runs, averaged = average_checkpoints(runs, model)
    notes += [note for note in (filled, averaged) if note is not None]
    if averaged is not None:
        model = _with_run_effects(runs, model)
    seed = (
        int(np.random.SeedSequence().generate_state(1)[0])
        if random_seed is None
        else int(random_seed)
    )
    graph = build(runs, model)
    compiled = _compiled(graph, runs, model, density=sampler == "nutpie")
    settings = _Settings(draws, chains, cores or os.cpu_count() or 1, seed, progress)
    if sampler == "nutpie" and undecided(model):
        compiled = _as_the_runs_ask(compiled, graph, model, settings)
    densities: smc.Densities | None = None
    tried: list[tuple[Attempt | smc.Population, SamplerVerdict]] = []
    seconds: list[float] = []
    best: tuple[SamplerVerdict, xr.DataTree, str] | None = None
    rungs = _rungs(model, sampler, draws if compiled.collapsed else None)
    for attempt in rungs:
        began = time.perf_counter()
        if isinstance(attempt, smc.Population):
            densities = densities or smc.compile_densities(graph)
            points, stats = smc.sample(
                graph,
                densities,
                attempt,
                draws=draws,
                chains=chains,
                cores=settings.cores,
                seed=seed,
                jacobian=float(log_jacobian(runs, model).sum()),
            )
        elif sampler == "nutpie":
            points, stats = _with_nutpie(compiled, attempt, settings)
        else:
            points, stats = _with_pymc(graph, sampler, attempt, settings)
        seconds.append(time.perf_counter() - began)
        tree = groups(runs, model, graph, compiled, points, stats, seed)
        verdict = judge(tree["posterior"].dataset, stats)
        tried.append((attempt, verdict))
        if best is None or verdict.rank < best[0].rank:
            best = verdict, tree, "smc" if isinstance(attempt, smc.Population) else sampler
        if verdict.converged:
            break
    assert best is not None
    verdict, tree, drawn_by = best
    notes += _sampling_notes(tried, verdict, tree)
    tree["prior"] = draw_prior(graph, seed)
    return with_facts(
        tree,
        runs,
        model,
        seed,
        {
            "converged": int(verdict.converged),
            "sampling": json.dumps(
                [
                    asdict(attempt) | asdict(result) | {"seconds": lasted}
                    for (attempt, result), lasted in zip(tried, seconds, strict=True)
                ]
            ),
            "sampler": drawn_by,
            "centered": json.dumps(centered(graph, model)),
            "notes": dump_notes(notes),
        },
    )


def _raised_since(runs: xr.Dataset) -> list[Note]:
    """Doubts that a table raises which it did not when it was read, since rows were left out."""
    if "notes" not in runs.attrs:
        return []
    known = {note.code for note in get_notes(runs)}
    return [note for note in design_notes(runs) if note.code not in known]


def _rungs(
    model: Model, sampler: SamplerName, collapsed: int | None
) -> tuple[Attempt | smc.Population, ...]:
    """Attempts worth trying, given the draws wanted if the rate of the drift is summed out.

    A break may lie below, within or above the runs. Chains cross between those places seldom, however careful their
    steps: where short runs of them do not agree, populations do.

    Families that drift seldom pass the first of the ladder: of ten fits to 12 to 30 runs three did not, with its steps
    and twice its draws five. With scores beside them two to five of 4,000 transitions of the second diverge, where
    four may; at .99 none or one did, in each of two fits to 29 runs. A drift that is sampled, since runs lie above the
    law, does not pass the first either.
    """
    if sampler == "smc":
        return smc.POPULATIONS
    if model.discrepancy is None:
        # Populations walk in a few dims, not in those of many groups.
        bends = model.law_object.can_bend and not model.pool and sampler == "nutpie"
        return (*LADDER[:2], *smc.POPULATIONS) if bends else LADDER
    if model.pool or samples_drift(model):
        rungs = LADDER[1:] or LADDER
        return rungs if model.tasks is None else (replace(rungs[0], target_accept=0.99), *rungs[1:])
    if collapsed is None:
        return (DRIFTING, *LADDER[1:])
    thin = -(-COLLAPSED_DRAWS // collapsed)
    return (
        replace(COLLAPSED, thin=thin),
        replace(LONGER, thin=LONGER.thin * thin),
        *LADDER[1:],
    )


def _with_run_effects(runs: xr.Dataset, model: Model) -> Model:
    """Give each of several runs a level of its own, since its checkpoints share what the run was lucky or wrong in."""
    if (
        np.unique(runs["run_id"].values).size < 2
        or "level" not in model.priors
        or "level" in model.pool
    ):
        return model
    # Seeds and tuning move the loss of a run by some .1 to 1 %; 8 cells of 4 seeds scatter by .03 to 1 % (2305.16264).
    effect = {"over": "run_id", "sd": {"dist": "HalfNormal", "kwargs": {"sigma": 0.02}}}
    return model.changed(pool={"level": effect})


@dataclass(frozen=True)
class _Settings:
    draws: int
    chains: int
    cores: int
    seed: int
    progress: bool


def check_settings(draws: int, chains: int, sampler: str, random_seed: int | None) -> None:
    """Raise ValueError unless a fit can be made with these settings; see :func:`fit`."""
    if random_seed is not None and not (_whole(random_seed) and 0 <= random_seed < 2**32):
        raise ValueError(
            f"random_seed = {random_seed!r}: expected a whole number from 0 to 2^32 - 1"
        )
    for name, given, least in (("draws", draws, 100), ("chains", chains, 2)):
        if not _whole(given):
            raise ValueError(f"{name}={given!r}: expected a whole number of {least} or more")
        if given < least:
            raise ValueError(
                f"{name}={given}: convergence cannot be judged with fewer than {least} {name}"
            )
    if sampler not in get_args(SamplerName):
        raise ValueError(
            f"unknown sampler {sampler!r}: expected one of {', '.join(get_args(SamplerName))}"
        )


def _whole(given: object) -> bool:
    return np.asarray(given).dtype.kind in "iu"


_COMPILED: dict[tuple[object, ...], Compiled] = {}
_COMPILED_MAX = 16


def _compiled(graph: pm.Model, runs: xr.Dataset, model: Model, *, density: bool) -> Compiled:
    """Compile a model, or take the one compiled before for the same structure and give it these data."""
    groups = {
        name: len(values) for name, values in graph.coords.items() if name != "run" and values
    }
    law = model.law_object
    # The law's functions themselves, not their ids: a function that was defined anew may lie where the old one lay.
    structure = (
        repr(replace(model, text="")),
        law.loss,
        law.split,
        law.textbook,
        law.outcome,
        str(groups),
        # A floor that a model states for each task is a constant of the graph.
        tuple(graph.coords.get("task") or ()),
        density,
    )
    if structure not in _COMPILED:
        if len(_COMPILED) >= _COMPILED_MAX:
            _COMPILED.pop(next(iter(_COMPILED)))
        nodes = grid(model) if density else None
        _COMPILED[structure] = compile_model(graph, density=density, nodes=nodes)
        return _COMPILED[structure]
    return _from_start(_COMPILED[structure].with_data(graph_data(runs, model)), graph)


def _from_start(compiled: Compiled, graph: pm.Model) -> Compiled:
    # Starts follow the data, not those that were compiled first: the numbers of a fit do not depend on earlier ones.
    point = graph.initial_point(random_seed=0)
    start = np.concatenate([np.ravel(point[name]) for name in compiled.names]).astype(float)
    return replace(compiled, start=start)


def _as_the_runs_ask(
    compiled: Compiled, graph: pm.Model, model: Model, settings: _Settings
) -> Compiled:
    """The same density, with each group sampled as a short first run tells that it should be."""
    first = replace(settings, draws=FIRST_DRAWS, chains=FIRST_CHAINS, progress=False)
    points, _ = _with_nutpie(compiled, FIRST, first)
    values = compiled.expand(points.reshape(-1, points.shape[-1]), *compiled.packed())
    outputs = zip(compiled.outputs, values, strict=True)
    weights = decide(
        model, {name: value for (group, name), value in outputs if group == "posterior"}
    )
    for name, value in weights.items():
        graph.set_data(name, value)
    return _from_start(compiled.with_data({**compiled.data, **weights}), graph)


def _with_nutpie(
    compiled: Compiled, attempt: Attempt, settings: _Settings
) -> tuple[np.ndarray, xr.Dataset]:
    import nutpie

    trace = nutpie.sample(
        nutpie_model(compiled),
        draws=settings.draws * attempt.thin,
        tune=attempt.tune,
        chains=settings.chains,
        cores=min(settings.cores, settings.chains),
        seed=settings.seed,
        adaptation=attempt.adaptation,
        target_accept=attempt.target_accept,
        save_warmup=False,
        progress_bar=settings.progress,
    )
    if settings.progress:
        print(file=sys.stderr)  # nutpie leaves the cursor at the end of its table
    points = trace["posterior"]["point"].values
    # Ctrl-C makes nutpie return what it has: rows missing, or a chain that is NaN from some draw on.
    if points.shape[1] < settings.draws * attempt.thin or not np.isfinite(points).all():
        raise KeyboardInterrupt
    points = points[:, :: attempt.thin]
    if compiled.collapsed is not None:
        flat = points.reshape(-1, points.shape[-1])
        rng = np.random.default_rng([settings.seed, 3])
        whole = compiled.collapsed.restore(flat, compiled.packed(), rng)
        points = whole.reshape(*points.shape[:2], -1)
    return points, _stats(trace, attempt.thin)


def _with_pymc(
    graph: pm.Model, sampler: str, attempt: Attempt, settings: _Settings
) -> tuple[np.ndarray, xr.Dataset]:
    chains = (
        {"nuts": {"chain_method": "vectorized"}}
        if sampler == "numpyro"
        else {"cores": settings.cores}
    )
    with graph:
        trace = pm.sample(
            settings.draws * attempt.thin,
            tune=attempt.tune,
            chains=settings.chains,
            random_seed=settings.seed,
            nuts_sampler=sampler,
            target_accept=attempt.target_accept,
            progressbar=settings.progress,
            quiet=not settings.progress,
            compute_convergence_checks=False,
            **chains,
        )
    if trace["posterior"].sizes["draw"] < settings.draws * attempt.thin:
        raise KeyboardInterrupt
    points = unconstrain(graph, trace["posterior"].to_dataset())
    return points[:, :: attempt.thin], _stats(trace, attempt.thin)


def _stats(trace: xr.DataTree, thin: int) -> xr.Dataset:
    """What ArviZ reads of a sampler's statistics, and what tells how it fared, under ArviZ's names."""
    stats = trace["sample_stats"].to_dataset()
    stats = stats.rename({name: ours for name, ours in NUTPIE_STATS.items() if name in stats})
    return stats[[name for name in STATS if name in stats]].isel(draw=slice(None, None, thin))


def _sampling_notes(
    tried: list[tuple[Attempt | smc.Population, SamplerVerdict]],
    verdict: SamplerVerdict,
    tree: xr.DataTree,
) -> list[Note]:
    notes = []
    if len(tried) > 1:
        first = "; ".join(tried[0][1].problems)
        notes.append(
            Note(
                "escalated",
                "info",
                f"sampled {len(tried)} times with growing care; at first {first}",
                "",
            )
        )
    stats = tree["sample_stats"].dataset if "sample_stats" in tree.children else xr.Dataset()
    if EVIDENCE in stats and float(stats[EVIDENCE].std(ddof=1)) > EVIDENCE_SD_MAX:
        told = ", ".join(f"{value:.1f}" for value in stats[EVIDENCE].values)
        advice = "more draws are more particles; compare no models by it until populations agree"
        message = f"log marginal likelihoods of the populations are {told}"
        notes.append(Note("evidence_uncertain", "warning", message, advice))
    if not verdict.converged:
        message = "; ".join(verdict.problems)
        advice = "do not use these numbers: simplify the model, tighten its priors or add runs that tell inputs apart"
        notes.append(Note("not_converged", "error", message, advice))
        found = modes(tree["posterior"].dataset)
        if len(found) > 1:
            draws = scalars(tree["posterior"].dataset).sel(quantity=verdict.worst).values
            where = "; ".join(
                f"chain {' and '.join(map(str, group))} about {verdict.worst} = "
                f"{np.median(draws[group]):.2g}"
                for group in found
            )
            advice = "each is a way to read the runs: add runs that tell them apart, or a prior that rules one out"
            notes.append(
                Note(
                    "multimodal", "error", f"chains settled in {len(found)} modes: {where}", advice
                )
            )
    return notes
