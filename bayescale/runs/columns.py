"""Names, units and spellings of the columns of a run table.

A table says ``N``, ``n_params`` or ``Model Size``; bayescale says ``params``. Spellings are
compared without case and without ``_``, ``-``, ``.``, ``/`` and spaces. What is not spelled out here is
kept under its own name, never guessed at: ``flops_6nd`` is not ``flops``.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

#: Columns that say how large a run was; a table needs at least one of them, or of ALONE.
INPUTS = ("params", "tokens", "flops", "examples")
#: Columns that a law takes alone: a table of runs that differ in nothing else needs no size.
ALONE = ("context", "share", "samples", "test_time_compute")

Kind = Literal["size", "loss", "count", "text"]


@dataclass(frozen=True)
class Column:
    """A column that bayescale knows by name.

    Parameters
    ----------
    name : str
        Canonical name.
    meaning, unit : str
        What it holds; they become ``long_name`` and, if not empty, ``units`` of the variable.
    kind : {"size", "loss", "count", "text"}
        A size is positive and may be written "7B"; a loss is positive; a count may be zero.
    spellings : str
        Other names, lower case, without separators, one space between two.
    """

    name: str
    meaning: str
    unit: str
    kind: Kind
    spellings: str = ""


_KNOWN = (
    Column(
        "params",
        "model parameters",
        "parameters",
        "size",
        "n nparams numparams nparam param parameters nparameters numparameters paramcount "
        "parametercount modelsize modelparams modelparameters size nonembeddingparams "
        "nonembeddingparameters nonembedparams nparamsnonembedding totalparams",
    ),
    Column(
        "tokens",
        "training tokens seen, repeats counted",
        "tokens",
        "size",
        "d ntokens numtokens token traintokens trainingtokens tokensseen seentokens tokenstrained "
        "totaltokens datasettokens pretrainingtokens tokencount",
    ),
    Column(
        "flops",
        "total training compute",
        "FLOP",
        "size",
        "c flop compute trainflops trainflop trainingflops trainingflop totalflops totalflop "
        "traincompute trainingcompute totalcompute",
    ),
    Column(
        "loss",
        "test loss",
        "nat/token",
        "loss",
        "l valloss validationloss testloss evalloss finalloss heldoutloss crossentropy "
        "crossentropyloss valcrossentropy testcrossentropy ce celoss nll pileloss c4loss lossval "
        "lossvalidation losstest losseval lossfinal",
    ),
    Column(
        "loss_sd",
        "standard deviation of the measured loss",
        "nat/token",
        "size",
        "lossstd lossse lossstderr losssigma losssem vallossstd vallosssd",
    ),
    Column(
        "unique_tokens",
        "distinct training tokens, repeats not counted",
        "tokens",
        "size",
        "uniquetoken tokensunique nuniquetokens numuniquetokens distincttokens",
    ),
    Column(
        "active_params",
        "parameters that one token passes through",
        "parameters",
        "size",
        "activeparameters activatedparams activatedparameters nactive nactiveparams",
    ),
    Column(
        "examples",
        "training examples seen",
        "examples",
        "size",
        "seenexamples examplesseen samplesseen seensamples nexamples numexamples",
    ),
    Column("experts", "experts in a routed layer", "1", "size", "nexperts numexperts expertcount"),
    Column(
        "granularity",
        "times that an expert is smaller than the layer it replaces",
        "1",
        "count",
        "expertgranularity moegranularity",
    ),
    Column(
        "sparsity",
        "share of the parameters that are zero",
        "1",
        "count",
        "sparsitylevel weightsparsity",
    ),
    Column("density", "share of the parameters that are not zero", "1", "count", "weightdensity"),
    Column(
        "precision",
        "bits in which the model was trained",
        "bits",
        "count",
        "bits nbits numbits trainprecision trainingprecision trainbits precisionbits",
    ),
    Column(
        "weight_bits",
        "bits of the weights after training",
        "bits",
        "count",
        "quantisedbits quantizedbits ptqbits postbits",
    ),
    Column(
        "vocab",
        "entries of the vocabulary",
        "1",
        "count",
        "vocabsize vocabularysize vocabulary nvocab numvocab",
    ),
    Column(
        "vocab_params",
        "parameters of the vocabulary: its size times width",
        "parameters",
        "size",
        "vocabparameters nvocabparams embeddingparams embeddingparameters",
    ),
    Column(
        "characters",
        "characters of training text",
        "characters",
        "size",
        "chars ncharacters numcharacters nchars trainingcharacters",
    ),
    Column(
        "share",
        "share of one domain in the training mixture",
        "1",
        "count",
        "domainshare mixtureshare mixtureweight mixingproportion mixtureproportion",
    ),
    Column(
        "samples",
        "samples drawn for each problem",
        "1",
        "size",
        "nsamples numsamples samplesperproblem",
    ),
    Column(
        "test_time_compute",
        "what inference spends on a problem, such as tokens of thought",
        "",
        "size",
        "inferencetokens thinkingtokens reasoningtokens tokensofthought",
    ),
    Column("other_tokens", "training tokens of a second modality", "tokens", "size"),
    Column("context", "context length", "tokens", "size", "contextlength ctxlen contextsize nctx"),
    Column(
        "year",
        "date of the model as a year",
        "year",
        "count",
        "yearfrac publicationyear pubyear releaseyear",
    ),
    Column("epochs", "passes over the training data", "1", "size", "epoch nepochs numepochs"),
    Column(
        "step",
        "training step",
        "1",
        "count",
        "steps trainstep trainsteps trainingstep trainingsteps globalstep iteration iter",
    ),
    Column("seed", "random seed of the run", "1", "count", "randomseed trainseed rngseed"),
    Column(
        "family",
        "model family",
        "",
        "text",
        "modelfamily familyname arch architecture modelarch series modelseries",
    ),
    Column(
        "run_id", "name of the run", "", "text", "run name runname modelname experimentname expname"
    ),
)

#: Every canonical column by name.
COLUMNS: dict[str, Column] = {column.name: column for column in _KNOWN}

_SPELLINGS = {
    word: column.name
    for column in _KNOWN
    for word in (column.name.replace("_", ""), *column.spellings.split())
}


def canonical(name: str) -> str | None:
    """Canonical name of a column by its spelling, or None.

    Examples
    --------
    >>> canonical("N"), canonical("Val-Loss"), canonical("flops_6nd")
    ('params', 'loss', None)
    """
    return _SPELLINGS.get(plain(name))


def holds_text(name: str, columns: Mapping[str, str] | None = None) -> bool:
    """Whether a column holds names, by what ``columns`` makes of it or else by its spelling: 1.10 is not 1.1 there.

    Prefixes of trackers, such as ``config.``, are passed over.

    Examples
    --------
    >>> holds_text("Arch"), holds_text("params.family"), holds_text("id"), holds_text("id", {"run_id": "id"})
    (True, True, False, True)
    """
    targets = {column: target for target, column in (columns or {}).items()}
    found = [
        COLUMNS.get(targets.get(each, canonical(each) or ""))
        for each in (name, name.partition(".")[2])
    ]
    return any(column is not None and column.kind == "text" for column in found)


def recognise(
    names: Iterable[str], columns: Mapping[str, str] | None = None, *, source: str = "table"
) -> dict[str, str]:
    """Which column of a table fills which canonical name.

    Parameters
    ----------
    names : iterable of str
        Columns of the table.
    columns : mapping, optional
        Canonical name to column of the table; goes before recognition.
    source : str
        Place to name in errors.

    Returns
    -------
    dict
        Canonical name to column. A column spelled canonically wins over other spellings.

    Raises
    ------
    ValueError
        If ``columns`` names what is not there, or two columns claim one canonical name.

    Examples
    --------
    >>> recognise(["N", "D", "loss", "val_loss", "optimizer"])
    {'params': 'N', 'tokens': 'D', 'loss': 'loss'}
    """
    names = list(names)
    chosen = _overrides(names, columns or {}, source)
    claims: dict[str, list[str]] = {}
    for name in names:
        found = canonical(name)
        if found and found not in chosen and name not in chosen.values():
            claims.setdefault(found, []).append(name)
    for target, claimants in claims.items():
        best = (
            [name for name in claimants if name == target]
            or [name for name in claimants if plain(name) == plain(target)]
            or claimants
        )
        if len(best) > 1:
            raise ValueError(
                f"{source}: columns {_quoted(best)} may each be {describe(target)}; "
                f"say which one is: columns={{{target!r}: {best[0]!r}}}"
            )
        chosen[target] = best[0]
    return chosen


def _overrides(names: list[str], columns: Mapping[str, str], source: str) -> dict[str, str]:
    for target, column in columns.items():
        # A law of one's own may have inputs of its own, so only near misses are refused.
        near = (
            [] if target in COLUMNS else difflib.get_close_matches(target, COLUMNS, n=1, cutoff=0.8)
        )
        if near:
            raise ValueError(
                f"{source}: columns={{{target!r}: ...}} is not a name that bayescale knows; "
                f"did you mean {near[0]!r}?"
            )
        if column not in names:
            raise ValueError(
                f"{source}: columns={{{target!r}: {column!r}}}, but there is no column {column!r}"
                f"{hint(column, names)}; the columns are {_quoted(names)}"
            )
    given = list(columns.values())
    twice = [column for column in dict.fromkeys(given) if given.count(column) > 1]
    if twice:
        targets = [target for target, column in columns.items() if column == twice[0]]
        raise ValueError(
            f"{source}: {_quoted(targets)} would all be read from the column {twice[0]!r}; expected a column for each: "
            f"say which one it is, and that alone: columns={{{targets[0]!r}: {twice[0]!r}}}"
        )
    return dict(columns)


def describe(name: str) -> str:
    """A column as error messages name it.

    Examples
    --------
    >>> describe("loss"), describe("params")
    ("'loss' (test loss, nat/token)", "'params' (model parameters)")
    """
    column = COLUMNS.get(name)
    if column is None:
        return repr(name)
    unit = "" if column.unit in ("", "1") or column.unit in column.meaning else f", {column.unit}"
    return f"{name!r} ({column.meaning}{unit})"


def nearest(name: str, columns: Iterable[str]) -> list[str]:
    """Columns of a table that may be a misspelling of a canonical name, at most three.

    Examples
    --------
    >>> nearest("loss", ["optimizer", "valid_loss", "Lss"])
    ['valid_loss', 'Lss']
    >>> nearest("year", ["params", "Year released"])
    ['Year released']
    """
    columns = list(columns)
    words = (plain(name), *(COLUMNS[name].spellings.split() if name in COLUMNS else ()))
    like = [
        column
        for column in columns
        if difflib.get_close_matches(plain(column), words, n=1, cutoff=0.7)
    ]
    holding = [column for column in columns if set(_words(name)) <= set(_words(column))]
    return (like or holding)[:3]


def hint(word: str, known: Iterable[str]) -> str:
    """The tail of an error message that offers the nearest known spelling, or nothing.

    Examples
    --------
    >>> hint("lss", ["loss", "params"])
    " (did you mean 'loss'?)"
    """
    by_case = {str(name).lower(): str(name) for name in known}
    near = difflib.get_close_matches(word.lower(), by_case, n=1)
    return f" (did you mean {by_case[near[0]]!r}?)" if near else ""


def _words(name: str) -> list[str]:
    return re.split(r"[_\-./\s]+", str(name).lower())


def plain(name: str) -> str:
    """A name without case, separators and blanks, by which spellings are compared.

    Examples
    --------
    >>> plain("Val-Loss")
    'valloss'
    """
    return re.sub(r"[_\-./\s]", "", str(name)).lower()


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)
