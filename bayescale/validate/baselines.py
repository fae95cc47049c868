"""Forecasts that a Bayesian fit has to beat: the last loss stays, and the law by least squares.

Both return the same :class:`~bayescale.validate.score.Predictive` as a fit does, and are scored alike.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
import xarray as xr
from scipy import special, stats
from scipy.optimize import minimize

from bayescale.drift import frontier, positions
from bayescale.laws import Law
from bayescale.model import Model, Prior
from bayescale.validate.score import Predictive

#: Hoffmann et al. 2022, approach 3: squared below, absolute above this residual of log loss.
HUBER_DELTA = 1e-3
BOOTSTRAP_DRAWS = 200
#: Runs beyond the parameters of a law without which the scatter about it is no number.
SPARE_RUNS = 3
#: Relative difference within which two runs are of one scale.
SAME_SCALE = 0.01
#: Starts: shares of the floor in the loss, and factors of the median of every other parameter.
_FLOORS = (0.3, 0.6, 0.85)
_FACTORS = (0.6, 1.0, 1.6)
_STARTS_MAX = 27
#: Most steps of the optimiser, and the gradient at which it stops: from a start, to the end from the best, and for a
#: bootstrap draw. Where runs do not tell a parameter it runs off to infinity, and never arrives.
_SEARCH, _FINISH, _REFIT = (300, 1e-2), (2000, 1e-2), (200, 1.0)


def same_scale(values: np.ndarray) -> np.ndarray:
    """Number of the scale of each run, from small to large, where runs within one per cent are of one.

    The runs of one compute budget differ by rounding: ``tokens = flops / (6 * params)`` does not give it back.

    Examples
    --------
    >>> same_scale(np.array([3e18, 1e18, 9.999999999999998e17, 1.004e18]))
    array([1, 0, 0, 0])
    """
    order = np.argsort(values, kind="stable")
    found = np.empty(values.size, dtype=int)
    first, count = -np.inf, -1
    for place in order:
        # From the smallest of each: neighbours in a dense sweep would hang together as one.
        if values[place] > first * (1 + SAME_SCALE) or count < 0:
            first, count = values[place], count + 1
        found[place] = count
    return found


def persistence(train: xr.Dataset, runs: xr.Dataset, *, by: str = "flops") -> Predictive:
    """Forecast that the loss of the largest training run stays.

    A Normal distribution of log loss about that of the largest training run. Its variance is the mean square of the
    steps of log loss between training runs that are neighbours in scale: what a next run has differed by from the one
    before. Runs of one scale, as :func:`same_scale` tells, enter by their mean, and what they differ by from it is
    added, so that the order of the rows tells nothing.

    Parameters
    ----------
    train, runs : xr.Dataset
        Runs that are known, with ``loss``, and those to forecast; dim ``run``.
    by : str
        Column that orders the runs.

    Returns
    -------
    Predictive

    Examples
    --------
    >>> train = xr.Dataset({"flops": ("run", [1e18, 1e19, 1e20]), "loss": ("run", [4.0, 3.5, 3.0])})
    >>> forecast = persistence(train, train.isel(run=[2, 2]))
    >>> np.exp(forecast.location).round(3).ravel().tolist(), forecast.scale.round(3).ravel().tolist()
    ([3.0, 3.0], [0.144])
    """
    log_loss, scale_of = np.log(train["loss"].values), same_scale(train[by].values)
    means = np.bincount(scale_of, log_loss) / np.bincount(scale_of)
    steps = np.diff(means)
    variance = np.sum(steps**2) / max(steps.size, 1) + np.mean((log_loss - means[scale_of]) ** 2)
    scale, last = max(float(np.sqrt(variance)), 1e-6), float(means[-1])
    return Predictive(np.full((1, 1, runs.sizes["run"]), last), np.full((1, 1, 1), scale))


def least_squares(
    train: xr.Dataset,
    runs: xr.Dataset,
    model: str | Model,
    *,
    draws: int = BOOTSTRAP_DRAWS,
    random_seed: int = 0,
) -> Predictive:
    """Forecast by the law alone, fitted by robust least squares, with a residual bootstrap.

    Approach 3 of Hoffmann et al. 2022 (arXiv 2203.15556): the sum of the Huber loss of the residuals of log loss is
    minimised by BFGS from a grid of starts about the prior medians. The priors are used for nothing else, groups
    are not told apart, and there is no drift. Each bootstrap draw refits the law to its own curve with residuals
    drawn anew; its forecast is Normal about its curve, with the standard deviation of the residuals of the fit.

    Parameters
    ----------
    train, runs : xr.Dataset
        Runs that are known, with ``loss``, and those to forecast; dim ``run``.
    model : str or Model
        Whose law, and columns of its inputs.
    draws : int
        Bootstrap draws.
    random_seed : int

    Returns
    -------
    Predictive
        ``location`` has one chain, a draw for each bootstrap fit.

    Examples
    --------
    >>> import bayescale as bs
    >>> runs = bs.load_dataset("pile")
    >>> least_squares(runs, runs.isel(run=[0, 1]), "power", draws=5).location.shape
    (1, 5, 2)
    """
    model = Model.load(model)
    curve = _Curve.of(train, model)
    log_loss = np.log(train["loss"].values)
    best, _ = curve.minimum(log_loss)
    fitted = curve.log_loss(best, curve.inputs)
    residual = log_loss - fitted
    free = max(residual.size - best.size, 1)
    scale = max(float(np.sqrt(np.sum((residual - residual.mean()) ** 2) / free)), 1e-6)
    rng = np.random.default_rng([random_seed, draws])
    ahead = _ratios(runs, model, curve.reference)
    location = np.empty((draws, runs.sizes["run"]))
    for draw in range(draws):
        again = fitted + rng.choice(residual - residual.mean(), residual.size)
        point, _ = curve.minimise(again, best, _REFIT)
        location[draw] = curve.log_loss(point, ahead)
    return Predictive(location[None], np.full((1, 1, 1), scale))


def too_few(runs: int, model: Model) -> str:
    """Why least squares cannot forecast from so many runs, if so.

    Its residuals vanish as parameters go through the runs, and the intervals with them.

    Examples
    --------
    >>> too_few(7, Model.load("chinchilla"))
    'least squares of 5 parameters needs 8 runs to tell their scatter; there are 7'
    >>> too_few(8, Model.load("chinchilla"))
    ''
    """
    size = len(model.law_object.param_names)
    if runs >= size + SPARE_RUNS:
        return ""
    return (
        f"least squares of {size} parameters needs {size + SPARE_RUNS} runs to tell their scatter; "
        f"there are {runs}"
    )


def fit_law(train: xr.Dataset, model: str | Model) -> dict[str, float]:
    """Fit a law by robust least squares.

    Parameters
    ----------
    train : xr.Dataset
    model : str or Model

    Returns
    -------
    dict
        Every parameter of the law, amplitudes at input 1 as papers print them; ``objective``, the sum of the Huber
        loss.

    Examples
    --------
    >>> import bayescale as bs
    >>> sorted(fit_law(bs.load_dataset("pile"), "power"))
    ['A', 'E', 'gamma', 'objective']
    """
    model = Model.load(model)
    curve = _Curve.of(train, model)
    log_loss = np.log(train["loss"].values)
    point, value = curve.minimum(log_loss)
    params = {name: each[0] for name, each in curve.params(point).items()}
    if curve.law.textbook is not None:
        # An exponent out of all bounds gives an amplitude at one token that is no number of this machine.
        with np.errstate(over="ignore"):
            params |= curve.law.textbook(curve.reference, **params)
    return {name: float(value) for name, value in params.items()} | {"objective": value}


@dataclass(frozen=True)
class _Curve:
    """A law as a function of unconstrained parameters."""

    law: Law
    model: Model
    inputs: list[np.ndarray]
    reference: dict[str, float]
    level: float

    @classmethod
    def of(cls, train: xr.Dataset, model: Model) -> "_Curve":
        # The geometric mean of the frontier, as in a Bayesian fit: amplitudes are losses there.
        law = model.law_object
        inputs = {slot: train[model.inputs[slot]].values.astype(float) for slot in law.scales}
        near = frontier(positions(inputs)["compute"])
        reference = law.references(
            {slot: float(np.exp(np.log(values[near]).mean())) for slot, values in inputs.items()}
        )
        level = float(np.exp(np.log(train["loss"].values[near]).mean()))
        return cls(law, model, _ratios(train, model, reference), reference, level)

    def params(self, point: np.ndarray) -> dict[str, np.ndarray]:
        """Parameters with axes (1,), or (direction, 1) of a complex point."""
        columns = np.atleast_2d(point).T[..., None] if point.ndim > 1 else point[:, None]
        return {
            name: _LINKS[self.law.param(name).support][0](column)
            for name, column in zip(self.law.param_names, columns, strict=True)
        }

    def log_loss(self, point: np.ndarray, inputs: list[np.ndarray]) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            return np.log(self.law.loss(*inputs, **self.params(point)))

    def minimum(self, log_loss: np.ndarray) -> tuple[np.ndarray, float]:
        """The best that is reached from the grid of starts."""
        found = [self.minimise(log_loss, start) for start in self.starts()]
        return self.minimise(log_loss, min(found, key=lambda each: each[1])[0], _FINISH)

    def minimise(
        self, log_loss: np.ndarray, start: np.ndarray, until: tuple[int, float] = _SEARCH
    ) -> tuple[np.ndarray, float]:
        """Point of the least sum of Huber losses that is reached from a start, and that sum."""

        def objective(point: np.ndarray) -> tuple[float, np.ndarray]:
            # One complex step a parameter gives the gradient to machine precision.
            found = self.log_loss(point + 1e-30j * np.eye(point.size), self.inputs)
            residual = log_loss - found[0].real
            if not np.isfinite(found).all():
                return 1e30, np.zeros(point.size)
            slope = np.clip(residual, -HUBER_DELTA, HUBER_DELTA)
            value = float(np.sum(special.huber(HUBER_DELTA, residual)))
            # In units of delta squared, so that the optimiser's tolerance bites where it should; a mean in place
            # of the sum stopped it early in the original fit (Besiroglu et al. 2024, arXiv 2404.10102).
            return value / HUBER_DELTA**2, -(found.imag / 1e-30) @ slope / HUBER_DELTA**2

        # BFGS rather than L-BFGS: the same minimum for so few parameters, in half the steps where the floor is poorly
        # known, and without the library calls that several threads make a hundred times slower on a busy machine.
        options = {"maxiter": until[0], "gtol": until[1]}
        found = minimize(objective, start, jac=True, method="BFGS", options=options)
        return found.x, float(found.fun) * HUBER_DELTA**2

    def starts(self) -> list[np.ndarray]:
        """Grid of starts: the floor's share of the loss, and factors of the prior medians."""
        others = [name for name in self.law.param_names if name not in self.law.terms]
        free = [name for name in others if self.law.param(name).support == "positive"]
        grid = list(product(_FLOORS, *(_FACTORS for _ in free)))
        # A law of many parameters: the corners of the grid that come first in a fixed shuffle.
        if len(grid) > _STARTS_MAX:
            chosen = np.random.default_rng(0).choice(len(grid), _STARTS_MAX, replace=False)
            grid = [grid[index] for index in sorted(chosen)]
        found = []
        for floor, *factors in grid:
            scaled = dict(zip(free, factors, strict=True))
            values = {name: self._median(name) * scaled.get(name, 1.0) for name in others}
            found.append(self._unconstrained(values | self._terms(floor, values)))
        return found

    def _terms(self, floor: float, values: dict[str, float]) -> dict[str, float]:
        terms = self.law.terms
        if self.law.floor in terms and len(terms) > 1:
            shares = [(1 - floor) / (len(terms) - 1)] * len(terms)
            shares[terms.index(self.law.floor)] = floor
        else:
            shares = [1 / len(terms)] * len(terms)
        return self.law.terms_from_shares(self.level, shares, values)

    def _median(self, name: str) -> float:
        prior = self.model.priors.get(name)
        if prior is not None:
            return prior_median(prior, self.level)
        default = self.law.param(name).prior
        return prior_median(Prior(**default), self.level) if default else 1.0

    def _unconstrained(self, values: dict[str, float]) -> np.ndarray:
        return np.array(
            [_LINKS[self.law.param(name).support][1](values[name]) for name in self.law.param_names]
        )


#: Support -> to the parameter from the real line, and back. Both run on complex numbers.
_LINKS: dict[str, tuple[Callable, Callable]] = {
    "positive": (np.exp, np.log),
    "unit": (lambda x: 1 / (1 + np.exp(-x)), special.logit),
    "real": (lambda x: x, lambda x: x),
}


def prior_median(prior: Prior, level: float = 1.0) -> float:
    """Median of a prior; ``level`` stands for a median that the runs give.

    Examples
    --------
    >>> prior_median(Prior("LogNormal", {"median": 0.33, "sigma": 0.4}))
    0.33
    >>> round(prior_median(Prior("HalfNormal", {"sigma": 1.0})), 3)
    0.674
    """
    kwargs = dict(prior.kwargs)
    if "median" in kwargs:
        return level if kwargs["median"] == "runs" else float(kwargs["median"])
    return float(_SCIPY[prior.dist](**kwargs).median())


def _truncated(mu: float, sigma: float, lower: float = -np.inf, upper: float = np.inf) -> object:
    return stats.truncnorm((lower - mu) / sigma, (upper - mu) / sigma, mu, sigma)


_SCIPY: dict[str, Callable] = {
    "Normal": lambda mu, sigma: stats.norm(mu, sigma),
    "StudentT": lambda nu, mu, sigma: stats.t(nu, mu, sigma),
    "Uniform": lambda lower, upper: stats.uniform(lower, upper - lower),
    "TruncatedNormal": _truncated,
    "LogNormal": lambda mu, sigma: stats.lognorm(sigma, scale=np.exp(mu)),
    "HalfNormal": lambda sigma: stats.halfnorm(scale=sigma),
    "HalfStudentT": lambda nu, sigma: _HalfStudent(nu, sigma),
    "Exponential": lambda lam: stats.expon(scale=1 / lam),
    "Gamma": lambda alpha, beta: stats.gamma(alpha, scale=1 / beta),
    "InverseGamma": lambda alpha, beta: stats.invgamma(alpha, scale=beta),
    "Beta": lambda alpha, beta: stats.beta(alpha, beta),
}


@dataclass(frozen=True)
class _HalfStudent:
    nu: float
    sigma: float

    def median(self) -> float:
        return float(self.sigma * stats.t(self.nu).ppf(0.75))


def _ratios(runs: xr.Dataset, model: Model, reference: dict[str, float]) -> list[np.ndarray]:
    return [
        runs[model.inputs[slot]].values.astype(float) / reference[slot]
        for slot in model.law_object.input_names
    ]
