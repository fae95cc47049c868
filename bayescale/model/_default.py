"""The model for the columns at hand, and the column for a law of any one input."""

from typing import TYPE_CHECKING

from bayescale.model._model import Model

if TYPE_CHECKING:
    import xarray as xr

    from bayescale.notes import Note

#: Columns that may be the one input of a law, the best first.
ONE_INPUT = ("flops", "examples", "tokens", "params")


def default_model(runs: "xr.Dataset") -> "tuple[Model, Note]":
    """Model for the columns at hand, with the note that says so.

    Parameters
    ----------
    runs : xr.Dataset

    Returns
    -------
    tuple of Model and Note

    Examples
    --------
    >>> import bayescale as bs
    >>> default_model(bs.load_dataset("pile"))[0].name
    'skaling-drift-families'
    """
    # Where models are named by the tab key, nothing is loaded for notes.
    from bayescale.notes import Note

    families = len(set(runs["family"].values.tolist())) if "family" in runs else 1
    if "params" in runs and "tokens" in runs:
        model = Model.load("skaling-drift-families" if families > 1 else "skaling-drift")
        found = f"params and tokens, {families} families" if families > 1 else "params and tokens"
    else:
        model = with_input(runs, Model.load("shifted-drift"))
        found = f"one input, {model.inputs['scale']!r}"
    advice = "name a model to choose another; `bayescale models` lists them"
    return model, Note(
        "default_model", "info", f"no model was named: {model.name!r} was taken for {found}", advice
    )


def with_input(runs: "xr.Dataset", model: Model) -> Model:
    """Give a law of one input of any kind the size that the table has, where it lacks the model's own.

    A law of samples, of context or of a share is not one of compute, whatever the table holds.
    """
    slots = model.law_object.input_names
    present = [name for name in ONE_INPUT if name in runs]
    column = model.inputs[slots[0]]
    if len(slots) != 1 or column in runs or column not in ONE_INPUT or not present:
        return model
    return model.changed(inputs={slots[0]: present[0]})
