"""The model itself: its parts, and how it is loaded and changed."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import tomli_w

from bayescale import laws
from bayescale.laws import Law
from bayescale.model._parts import Discrepancy, Effect, Noise, Pool, Prior, Tasks
from bayescale.model._reader import ModelReader, hint


@dataclass(frozen=True)
class Model:
    """A law with its priors, pooling and noise.

    Parameters
    ----------
    name, title : str
    law : str
        Registry name of the law.
    inputs : mapping
        For each input of the law the column that fills it.
    priors : mapping of Prior
        Either ``level`` and ``shares`` (the loss at the reference scale and how it divides into the
        law's terms) or one prior a term; and one for every other parameter.
    pool : mapping of Pool
        Pooled parameters.
    noise : Noise
    discrepancy : Discrepancy or None
        Drift of the law's slope; None trusts the law exactly.
    tasks : Tasks or None
        Scores that follow from the loss.
    cite : str
        Where the priors come from.
    text : str
        The model file, word for word.

    Examples
    --------
    >>> model = Model.load("chinchilla")
    >>> model.law, model.noise.dist
    ('chinchilla', 'StudentT')
    """

    name: str
    title: str
    law: str
    inputs: Mapping[str, str]
    priors: Mapping[str, Prior]
    noise: Noise
    pool: Mapping[str, Pool] = field(default_factory=dict)
    discrepancy: Discrepancy | None = None
    tasks: Tasks | None = None
    cite: str = ""
    text: str = ""

    @property
    def shared_level(self) -> bool:
        """Whether the terms are stated as a level and its shares."""
        return "level" in self.priors

    @property
    def law_object(self) -> Law:
        """The law itself."""
        return laws.get(self.law)

    @property
    def pooled(self) -> tuple[str, ...]:
        """Columns that parameters are pooled over."""
        every = (each for pool in self.pool.values() for each in (pool, *pool.crossed))
        return tuple(dict.fromkeys(pool.over for pool in every))

    @property
    def effects(self) -> tuple[Effect, ...]:
        """What each column does to each pooled parameter.

        Examples
        --------
        >>> [effect.name for effect in Model.load("chinchilla-families").effects]
        ['level_family']
        """
        named = self.law_object.posterior_name
        return tuple(each for name, pool in self.pool.items() for each in pool.effects(named(name)))

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that a run table must have besides ``loss``, inputs first."""
        wanted = [*self.inputs.values(), *self.pooled]
        wanted += [each for each in (self.noise.known, self.noise.trials) if isinstance(each, str)]
        return tuple(dict.fromkeys(wanted))

    @classmethod
    def load(cls, source: "str | Path | Model") -> "Model":
        """Load a model by its name, from a file, or hand back one already loaded.

        Parameters
        ----------
        source : str, Path or Model
            Name of a shipped model, or a path that ends in ``.toml``.

        Raises
        ------
        ValueError
            If the name is unknown or the file breaks the format; the message says where and what
            to do.
        FileNotFoundError
            If there is no such file.
        """
        if isinstance(source, Model):
            return source
        path = Path(source)
        if path.suffix == ".toml":
            if not path.is_file():
                raise FileNotFoundError(
                    f"{path}: no such model file; shipped models: {', '.join(shipped())}"
                )
            return cls.from_toml(_text_of(path), where=str(path))
        if str(source) not in shipped():
            raise ValueError(
                f"unknown model {str(source)!r}: {hint(str(source), shipped())}"
                f"shipped models are {', '.join(shipped())}; a file of your own ends in .toml"
            )
        path = models_dir() / f"{source}.toml"
        return cls.from_toml(_text_of(path), where=str(source))

    @classmethod
    def from_toml(cls, text: str, *, where: str = "model") -> "Model":
        """Read a model from the text of its file.

        Parameters
        ----------
        text : str
            TOML, as ``models/README.md`` describes it.
        where : str
            Name of the file, for messages.

        Raises
        ------
        ValueError
            With the key at fault, what was expected and the nearest spelling.
        """
        # Editors on Windows may start a file with a byte-order mark, which TOML does not know.
        text = text.removeprefix("\ufeff")
        try:
            table = tomllib.loads(text)
        except ValueError as error:
            raise ValueError(f"{where}: not valid TOML: {error}") from error
        return cls(**ModelReader(where).parts(table), text=text)

    def changed(self, where: str = "", **tables: Any) -> "Model":
        """Return the model with some tables of its file replaced.

        Parameters
        ----------
        where : str
            What asks for the change, for messages.
        **tables
            Top-level keys of the file; a mapping is merged into the table that is there, anything else replaces it.
            Values as they stand in the file; a :class:`Prior` and NumPy's arrays and numbers will do as well.

        Returns
        -------
        Model
            Its ``text`` is the changed file, without comments.

        Raises
        ------
        ValueError
            If a value can stand in no model file, or the changed file breaks the format; the message names the key.

        Examples
        --------
        >>> Model.load("chinchilla").changed(noise={"nu": 4.0}, discrepancy="drift").discrepancy is None
        False
        """
        table = tomllib.loads(self.text)
        for key, given in tables.items():
            value = _as_toml(given, f"{where or self.name}: {key}")
            both = isinstance(value, Mapping) and isinstance(table.get(key), Mapping)
            table[key] = {**table[key], **value} if both else value
        return type(self).from_toml(tomli_w.dumps(table), where=where or self.name)

    def with_discrepancy(self, kind: Literal["drift", "none"]) -> "Model":
        """Return the model with its law drifting, or trusted exactly.

        Examples
        --------
        >>> Model.load("skaling-drift").with_discrepancy("none").discrepancy is None
        True
        """
        if kind not in ("drift", "none"):
            raise ValueError(f"discrepancy = {kind!r}: expected 'drift' or 'none'")
        if (kind == "drift") == (self.discrepancy is not None):
            return self
        # With the drift integrated out, the noise's tails are fixed.
        if (
            kind == "drift"
            and self.noise.dist == "StudentT"
            and not isinstance(self.noise.nu, float)
        ):
            return self.changed(discrepancy=kind, noise={"nu": 4.0})
        return self.changed(discrepancy=kind)


@cache
def models_dir() -> Path:
    """Folder of the shipped model files: in the wheel, or at the top of a checkout."""
    package = Path(__file__).parents[1]
    inside = package / "models"
    return inside if inside.is_dir() else package.parent / "models"


def shipped() -> list[str]:
    """Names of the shipped models.

    Examples
    --------
    >>> "chinchilla-families" in shipped()
    True
    """
    return sorted(path.stem for path in models_dir().glob("*.toml"))


def _as_toml(value: Any, place: str) -> Any:
    """A value as it stands in a model file; ``place`` names it in messages."""
    if isinstance(value, Prior):
        value = value.as_dict()
    elif hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _as_toml(each, f"{place}.{key}") for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_as_toml(each, place) for each in value]
    if not isinstance(value, str | bool | int | float):
        raise ValueError(
            f"{place}: expected what a model file holds: text, a number, true or false, a list, a table or a Prior; "
            f"got {value!r}. Leave the key out to keep what the model has"
        )
    return value


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: not valid TOML, which is UTF-8: {error}; save the file as UTF-8"
        ) from error
