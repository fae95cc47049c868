"""Names of runs: how folders give them, and how two tables are joined by them."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from bayescale.runs.cells import label_text


def unless_repeated(names: Sequence[str], longer: Sequence[str]) -> list[str]:
    """Each name where no other is the same, else the longer one in its place.

    Examples
    --------
    >>> unless_repeated(["out", "b", "out"], ["sweep/a/out", "sweep/b", "sweep/c/out"])
    ['sweep/a/out', 'b', 'sweep/c/out']
    """
    count = Counter(names)
    return [long if count[name] > 1 else name for name, long in zip(names, longer, strict=True)]


def folder_names(folders: Iterable[Path], source: Path) -> list[str]:
    """Names of runs by their folders: the last name of each, or the path below the source where others share that.

    Examples
    --------
    >>> folder_names([Path("sweep/small/out"), Path("sweep/large/out")], Path("sweep"))
    ['small/out', 'large/out']
    >>> folder_names([Path("sweep/small"), Path("sweep/large")], Path("sweep"))
    ['small', 'large']
    """
    # The folder '.' has no name of its own; links keep theirs.
    places = [Path(os.path.abspath(each)) for each in folders]
    root = Path(os.path.commonpath([os.path.abspath(source), *places]))
    if root in places:
        root = root.parent
    return unless_repeated(
        [each.name or each.as_posix() for each in places],
        [each.relative_to(root).as_posix() for each in places],
    )


def joined(frame: pd.DataFrame, other: pd.DataFrame, place: str, other_place: str) -> pd.DataFrame:
    """Columns of another table beside those of the same run, by name; a run without a name joins nothing.

    Examples
    --------
    >>> runs = pd.DataFrame({"run_id": ["a", "b"], "loss": [2.5, 2.4]})
    >>> scores = pd.DataFrame({"run_id": ["b"], "acc_piqa": [0.7]})
    >>> joined(runs, scores, "runs.csv", "results.json")["acc_piqa"].tolist()
    [nan, 0.7]
    """
    for table, where in ((frame, place), (other, other_place)):
        if "run_id" not in table:
            raise ValueError(
                f"{where}: to join two tables both need a column 'run_id'; this one has "
                f"{', '.join(map(repr, table))}"
            )
    left, right = (
        table["run_id"].astype(object).map(label_text).astype(object) for table in (frame, other)
    )
    named = right != ""
    other, right = other[named], right[named]
    repeated = right[right.duplicated()].unique()
    if len(repeated):
        raise ValueError(
            f"{other_place}: run {repeated[0]!r} is there more than once; join one row a run"
        )
    if not left.isin(right).any():
        raise ValueError(
            f"{other_place}: none of its runs ({_few(right)}) is in {place} ({_few(left[left != ''])}); "
            "name them alike in 'run_id'"
        )
    fresh = [name for name in other if name not in frame]
    added = other.assign(run_id=right)[["run_id", *fresh]]
    return frame.assign(run_id=left).merge(added, on="run_id", how="left")


def _few(names: pd.Series) -> str:
    return f"{', '.join(names[:4])}, ..." if len(names) else "which have no names"
