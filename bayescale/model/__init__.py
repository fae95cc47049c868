"""A model: the statistical choices around a law, in a file that a reader can review in a diff.

The format is documented in ``models/README.md``. Nothing here samples; ``bayescale.inference``
builds the graph.
"""

from bayescale.model._default import ONE_INPUT, default_model, with_input
from bayescale.model._model import Model, models_dir, shipped
from bayescale.model._parts import (
    DISTRIBUTIONS,
    Breaks,
    Discrepancy,
    Effect,
    Noise,
    Pool,
    Prior,
    Tasks,
    crossed,
)
from bayescale.model._reader import FORMAT, Reader, hint

__all__ = [
    "DISTRIBUTIONS",
    "FORMAT",
    "ONE_INPUT",
    "Breaks",
    "Discrepancy",
    "Effect",
    "Model",
    "Noise",
    "Pool",
    "Prior",
    "Reader",
    "Tasks",
    "crossed",
    "default_model",
    "hint",
    "models_dir",
    "shipped",
    "with_input",
]
