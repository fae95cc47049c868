"""Forecasts from a saved fit: loss at any scale, marginal returns, and whether they are diminishing.

Nothing here samples: a fit is opened, its draws are read, the law is evaluated.
"""

from bayescale.forecast.capability import capability, predict_scores
from bayescale.forecast.diminishing import diminishing
from bayescale.forecast.growth import inputs_along
from bayescale.forecast.predict import predict, summarise
from bayescale.forecast.returns import returns
from bayescale.forecast.sensitivity import prior_sensitivity
from bayescale.forecast.tokens import data_value

__all__ = [
    "capability",
    "data_value",
    "diminishing",
    "inputs_along",
    "predict",
    "predict_scores",
    "prior_sensitivity",
    "returns",
    "summarise",
]
