"""Names of runs: how folders give them, and how two tables are joined by them."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from bayescale.notes import Note, Severity
from bayescale.runs.cells import label_text, numbers
from bayescale.runs.columns import COLUMNS, canonical

#: People write 7B for 6.7e9 parameters; other numbers are rounded to two or three digits.
SIZES, OTHERS = 0.1, 0.01


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
    left, right = _labels(frame), _labels(other)
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
    _check_shared(frame.assign(run_id=left), other.assign(run_id=right), place, other_place)
    fresh = [name for name in other if name not in frame]
    added = other.assign(run_id=right)[["run_id", *fresh]]
    return frame.assign(run_id=left).merge(added, on="run_id", how="left")


def unmatched(frame: pd.DataFrame, other: pd.DataFrame, place: str, other_place: str) -> list[Note]:
    """Doubt about runs of one of two joined tables that the other lacks.

    Examples
    --------
    >>> runs, scores = (pd.DataFrame({"run_id": names}) for names in (["a", "B"], ["a", "b"]))
    >>> unmatched(runs, scores, "runs.csv", "scores.csv")[0].message
    "runs.csv has 1 run that is not in scores.csv: 'B'"
    """
    if "run_id" not in frame or "run_id" not in other:
        return []
    notes = []
    names, others = (_labels(table).unique().tolist() for table in (frame, other))
    for there, where, here, lacking in (
        (names, place, others, other_place),
        (others, other_place, names, place),
    ):
        lost = [name for name in there if name and name not in set(here)]
        if lost:
            verb = "run that is" if len(lost) == 1 else "runs that are"
            few = ", ".join(map(repr, lost[:5])) + (" …" if len(lost) > 5 else "")
            # A collection of scores may well hold those of other runs.
            severity: Severity = "warning" if there is names else "info"
            message = f"{where} has {len(lost)} {verb} not in {lacking}: {few}"
            advice = "if they are there under another spelling, name them alike in 'run_id'"
            notes.append(Note("unmatched_runs", severity, message, advice))
    return notes


def _labels(table: pd.DataFrame) -> pd.Series:
    return table["run_id"].astype(object).map(label_text).astype(object)


def _check_shared(frame: pd.DataFrame, other: pd.DataFrame, place: str, other_place: str) -> None:
    """Raise ValueError where two tables give one run different numbers, beyond what rounding does."""
    known = other.set_index("run_id")
    for name, theirs in ((a, b) for a in frame for b in known if _same(str(a), str(b))):
        ours = pd.Series(numbers(frame[name]), index=frame.index)
        told = frame["run_id"].map(pd.Series(numbers(known[theirs]), index=known.index))
        # What changes along a run, as tokens and losses of its checkpoints do, has no one value to compare.
        fixed = ours.groupby(frame["run_id"]).transform("nunique") == 1
        size = canonical(str(name)) in COLUMNS and COLUMNS[str(canonical(str(name)))].kind == "size"
        apart = (ours - told).abs() > (SIZES if size else OTHERS) * told.abs()
        wrong = frame.index[fixed & apart]
        if len(wrong):
            first = wrong[0]
            run, several = frame.loc[first, "run_id"], frame.loc[wrong, "run_id"].nunique()
            raise ValueError(
                f"{other_place}: column {theirs!r} of run {run!r} is {told[first]:.6g} here and {ours[first]:.6g} in "
                f"{place}, column {name!r} ({several} such run{'s' if several > 1 else ''}); expected the same "
                "numbers in both: are these the same runs? Correct one, or drop the column from one table"
            )


def _same(name: str, other: str) -> bool:
    """Whether two columns claim to hold the same known quantity; steps are of the moment when a table was written."""
    kind = canonical(name)
    return kind not in (None, "step") and kind == canonical(other)


def _few(names: pd.Series) -> str:
    return f"{', '.join(names[:4])}, ..." if len(names) else "which have no names"
