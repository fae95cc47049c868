"""Files to tables: CSV, TSV, JSON lines and Parquet, as pandas reads them, with errors that help.

pandas forgives what a run table should not: it renames repeated columns, fills short rows with
missing values, and takes a surplus first column for an index. All three are errors here.
"""

import csv
import difflib
import gzip
import io
import json
import re
import zlib
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from bayescale.runs.columns import holds_text

_TEXT = {".csv": ",", ".tsv": "\t"}
_JSON = (".json", ".jsonl", ".ndjson")
_PARQUET = (".parquet", ".pq")
#: Numbers whose comma may be of thousands, must be decimal, or is not, for a point is; with a unit such as B.
_TAIL = r"(?:[eE][+-]?\d+)?\s*[A-Za-z]*"
_THOUSAND_OR_DECIMAL = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}" + _TAIL)
_DECIMAL_COMMA = re.compile(r"[+-]?(?![1-9]\d{0,2},\d{3}(?!\d))\d+,\d+" + _TAIL)
_DECIMAL_POINT = re.compile(
    r"[+-]?(?:\d*\.\d+|\d{1,3}(?:,\d{3})+\.\d*|\d{1,3}(?:,\d{3}){2,})" + _TAIL
)
SUFFIXES = (*_TEXT, *_JSON, *_PARQUET)


def read_bytes(path: str | Path) -> bytes:
    """Content of a file, or an error that says what is wrong with its path.

    Raises
    ------
    FileNotFoundError
        If there is no such file; the message offers files with like names.
    IsADirectoryError
        If it is a folder.

    Examples
    --------
    >>> read_bytes("no/such/runs.csv")
    Traceback (most recent call last):
    FileNotFoundError: no/such/runs.csv: there is no such file; there is no folder 'no/such' either
    """
    file = Path(path)
    if file.is_dir():
        tables = sorted(each.name for each in file.iterdir() if each.suffix.lower() in SUFFIXES)
        found = f"; it holds {_few(tables)}" if tables else ""
        raise IsADirectoryError(
            f"{path}: this is a folder, expected the file of a run table, or a folder of Hugging Face's "
            f"Trainer, of TensorBoard's events, of lm-evaluation-harness or of MLflow{found}"
        )
    if not file.exists():
        if not file.parent.is_dir():
            near = f"; there is no folder {str(file.parent)!r} either"
        else:
            names = [each.name for each in file.parent.iterdir()]
            close = difflib.get_close_matches(file.name, names, n=3)
            near = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
        raise FileNotFoundError(f"{path}: there is no such file{near}")
    return file.read_bytes()


def read_json(path: Path) -> object:
    """Content of a JSON file, or an error that names it.

    Raises
    ------
    ValueError
        If the file is not JSON.

    Examples
    --------
    >>> read_json(Path("no/such/results.json"))
    Traceback (most recent call last):
    FileNotFoundError: [Errno 2] No such file or directory: 'no/such/results.json'
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: this is not JSON ({error})") from error


def parse_table(
    content: bytes, name: str | Path, columns: Mapping[str, str] | None = None
) -> pd.DataFrame:
    r"""Content of a file as a table; the suffix of ``name`` says which format.

    Parameters
    ----------
    content : bytes
        What the file holds.
    name : str or Path
        Its name, for the format and for messages. A further ``.gz`` is unpacked.
    columns : mapping, optional
        As for :func:`bayescale.read_runs`; columns of names are not taken for numbers.

    Raises
    ------
    ValueError
        If the content is no table in that format, has repeated columns, or no rows.

    Examples
    --------
    >>> parse_table(b"params,loss\n1e9,2.5\n", "runs.csv").loc[0, "loss"].item()
    2.5
    """
    place = Path(name)
    if place.suffix.lower() == ".gz":
        place = place.with_suffix("")
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{name}: this is not a whole gzip file ({error})") from error
    suffix = place.suffix.lower()
    if suffix not in SUFFIXES:
        advice = " (a spreadsheet can save as CSV)" if suffix in (".xlsx", ".xls", ".ods") else ""
        raise ValueError(
            f"{name}: cannot tell the format from suffix {suffix!r}; "
            f"expected one of {', '.join(SUFFIXES)}{advice}"
        )
    if not content.strip():
        raise ValueError(f"{name}: the file is empty; expected a table with one row for each run")
    if suffix in _PARQUET:
        frame = _parquet(content, name)
    elif suffix in _JSON:
        frame = _records(_text(content, name), name)
    else:
        frame = _delimited(_text(content, name), name, _TEXT[suffix], columns or {})
    if frame.empty:
        raise ValueError(f"{name}: the table has no rows; expected one row for each run")
    return frame


def _text(content: bytes, name: str | Path) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{name}: this is not UTF-8 text (byte {error.start}); save it as UTF-8, "
            "or give the file the suffix of its real format"
        ) from error
    start = text.lstrip()[:40].lower()
    if "\0" in text:
        raise ValueError(f"{name}: this is a binary file, not a table in text; check the suffix")
    if start.startswith("<"):
        raise ValueError(
            f"{name}: this is a web page (it begins with {start[:15]!r}), not a table; "
            "download the raw file"
        )
    if start.startswith("version https://git-lfs"):
        raise ValueError(f"{name}: this is a Git LFS pointer, not the table; run 'git lfs pull'")
    return text


def _delimited(
    text: str, name: str | Path, delimiter: str, columns: Mapping[str, str]
) -> pd.DataFrame:
    header_line = text.lstrip("\r\n").splitlines()[0]
    if delimiter not in header_line:
        # Spreadsheets write ';' where the comma is a decimal sign.
        delimiter = max(",;\t", key=header_line.count)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    try:
        # pandas skips blank lines too, so that both count the same rows.
        rows = [row for row in lines if len(row) > 1 or "".join(row).strip()]
    except csv.Error as error:
        raise ValueError(f"{name}: this is not a table of delimited text ({error})") from error
    header, *body = rows
    if len(header) == 1 and text.lstrip().startswith(("{", "[")):
        raise ValueError(f"{name}: this is JSON; give the file the suffix .json or .jsonl")
    _unique(header, name)
    swallowed = [
        number
        for number, row in enumerate(body, start=1)
        if any(delimiter in cell and ("\n" in cell or "\r" in cell) for cell in row)
    ]
    if swallowed:
        have = "has" if len(swallowed) == 1 else "have"
        raise ValueError(
            f"{name}: {row_list(swallowed)} {have} a cell with both a line break and {delimiter!r}, as when a stray "
            "quotation mark makes one cell of several rows; close or remove the mark, or take one of both out of the "
            "cell"
        )
    ragged = [number for number, row in enumerate(body, start=1) if len(row) != len(header)]
    if ragged:
        first = ragged[0]
        raise ValueError(
            f"{name}: {row_list(ragged)} {'has' if len(ragged) == 1 else 'have'} another number of "
            f"cells than the header ({len(body[first - 1])} in row {first}, expected "
            f"{len(header)}); quote cells that hold {delimiter!r}, or fill in what is missing"
        )
    # Beside tabs 7,125 is read as it always was; of sizes such as 1,300B neither reading is the usual one.
    if delimiter in ";\t" and _decimal_commas(body, name, bare=delimiter == ";"):
        sheet = io.StringIO(newline="")
        points = [[_with_point(cell) for cell in row] for row in body]
        csv.writer(sheet, delimiter=delimiter).writerows([header, *points])
        text = sheet.getvalue()
    try:
        frame = pd.read_csv(
            io.StringIO(text),
            sep=delimiter,
            skipinitialspace=True,
            index_col=False,
            low_memory=False,
            dtype={each: str for each in header if holds_text(each.strip(), columns)},
        )
    except pd.errors.ParserError as error:
        raise ValueError(
            f"{name}: this is not a table of delimited text ({error}); look for a quotation mark that is not closed"
        ) from error
    frame.columns = [str(column).strip() for column in frame.columns]
    for column in (each for each in frame if holds_text(each, columns)):
        # pandas writes whole numbers so, where a cell beside them is empty.
        there = frame[column].dropna()
        if len(there) < len(frame) and there.str.fullmatch(r"\d+\.0").all():
            frame[column] = frame[column].str.removesuffix(".0")
    return frame[[column for column in frame if not _row_labels(frame[column])]]


def _decimal_commas(rows: list[list[str]], name: str | Path, *, bare: bool) -> bool:
    """Whether the commas of a spreadsheet's numbers are decimal signs; cells such as 7,125 ask the others."""
    comma = point = False
    unclear: dict[int, str] = {}
    for number, row in enumerate(rows, start=1):
        for cell in map(str.strip, row):
            if _THOUSAND_OR_DECIMAL.fullmatch(cell) and (bare or cell[-1].isalpha()):
                unclear.setdefault(number, cell)
            comma |= _DECIMAL_COMMA.fullmatch(cell) is not None
            point |= _DECIMAL_POINT.fullmatch(cell) is not None
    if unclear and comma == point:
        raise ValueError(
            f"{name}: {row_list(list(unclear))} {'has' if len(unclear) == 1 else 'have'} a comma that may be a decimal "
            f"sign or one of thousands ({next(iter(unclear.values()))!r}), and the other numbers do not tell; write "
            "decimals with a point, and thousands without a sign"
        )
    return comma and not point


def _with_point(cell: str) -> str:
    number = cell.strip()
    decimal = _THOUSAND_OR_DECIMAL.fullmatch(number) or _DECIMAL_COMMA.fullmatch(number)
    return number.replace(",", ".") if decimal else cell


def _row_labels(column: pd.Series) -> bool:
    """Whether a column without a name is a saved pandas index, or comes of a comma at line ends."""
    if not re.fullmatch(r"Unnamed: \d+", str(column.name)):
        return False
    return column.isna().all() or column.tolist() in (
        list(range(len(column))),
        list(range(1, len(column) + 1)),
    )


def _records(text: str, name: str | Path) -> pd.DataFrame:
    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        _unique([key for key, _ in pairs], name)
        return dict(pairs)

    try:
        data = json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as whole:
        lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
        data = []
        for number, line in lines:
            try:
                data.append(json.loads(line, object_pairs_hook=unique))
            except json.JSONDecodeError as error:
                reason = whole if len(lines) == 1 or number == 1 else f"line {number}: {error}"
                raise ValueError(f"{name}: this is not JSON ({reason})") from error
    if "\\ud" in text.lower():
        # Halves of characters are left alone by JSON, and by little else.
        data = json.loads(storable(json.dumps(data, ensure_ascii=False)))
    if isinstance(data, dict):
        # One record, or a table by columns: {"params": [...], "loss": [...]}.
        lists = [value for value in data.values() if isinstance(value, list)]
        if len(lists) == len(data) and len({len(value) for value in lists}) == 1:
            return pd.DataFrame(data)
        data = [data]
    if not isinstance(data, list) or not all(isinstance(record, dict) for record in data):
        raise ValueError(
            f"{name}: this JSON is not a list of records; "
            'expected one {"params": ..., "tokens": ..., "loss": ...} for each run'
        )
    return pd.DataFrame.from_records(data)


def _parquet(content: bytes, name: str | Path) -> pd.DataFrame:
    if not content.startswith(b"PAR1"):
        raise ValueError(f"{name}: this is not a Parquet file; check the suffix")
    try:
        frame = pd.read_parquet(io.BytesIO(content))
    except ImportError as error:
        raise ImportError(
            f"{name}: reading Parquet needs pyarrow: pip install 'bayescale[parquet]', "
            "or save the table as CSV"
        ) from error
    except (ValueError, OSError) as error:
        raise ValueError(f"{name}: this Parquet file cannot be read ({error})") from error
    return with_index(frame, name)


def with_index(frame: pd.DataFrame, place: str | Path) -> pd.DataFrame:
    """A table with its index as columns, if it has a name: someone set that aside. One without is row labels.

    Examples
    --------
    >>> list(with_index(pd.DataFrame({"run_id": ["a"], "loss": [2.5]}).set_index("run_id"), "runs"))
    ['run_id', 'loss']
    """
    names = [name for name in frame.index.names if name is not None]
    both = [name for name in names if name in frame]
    if both:
        raise ValueError(
            f"{place}: {', '.join(map(repr, both))} is the name of the index and of a column; rename or drop one"
        )
    return frame.reset_index() if names else frame.copy(deep=False)


def _unique(names: list[str], name: str | Path) -> None:
    stripped = [each.strip() for each in names]
    repeated = sorted({each for each in stripped if each and stripped.count(each) > 1})
    if repeated:
        raise ValueError(
            f"{name}: column {', '.join(map(repr, repeated))} is there more than once; "
            "rename or drop the repeats"
        )


def storable(text: str) -> str:
    r"""Text that a saved fit can hold: without NUL and halves of characters, which become the sign for an unknown one.

    Examples
    --------
    >>> storable("a\0b\ud800") == "a\ufffdb\ufffd"
    True
    """
    return re.sub("[\0\ud800-\udfff]", "\ufffd", text)


def row_list(rows: list[int], *, most: int = 8) -> str:
    """Rows as messages name them: data rows counted from 1, the header not counted.

    Examples
    --------
    >>> row_list([4]), row_list([4, 17])
    ('row 4', 'rows 4, 17')
    >>> row_list(list(range(1, 12)))
    'rows 1, 2, 3, 4, 5, 6, 7, 8 … and 3 more'
    """
    more = f" … and {len(rows) - most} more" if len(rows) > most else ""
    return f"row{'s' if len(rows) > 1 else ''} {', '.join(map(str, rows[:most]))}{more}"


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
