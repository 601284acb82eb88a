"""Parameters: type, default, range and help, defined once for the CLI, MLproject, the TUI and the documentation.

Nothing heavy is imported here: `sa-mlops --help` and the TUI's first screen depend on it.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

Kind = Literal["int", "float", "bool", "choice", "classes", "numbers", "text"]
Group = Literal["what", "how", "where"]
Value = int | float | bool | str | tuple[int, ...] | tuple[str, ...] | None

AUTO = "auto"
"""Text that stands for a value that is not set: the recipe, or the program, chooses it."""


class ParameterError(ValueError):
    """A value given by the user is not allowed. The message is one line: option, value, what is allowed."""

    def __init__(self, name: str, value: object, allowed: str) -> None:
        shown = repr(value) if isinstance(value, str) else str(value)
        if len(shown) > 80:
            shown = shown[:77] + "..."
        super().__init__(f"{spell_option(name)}: {shown} is not allowed; give {allowed}")
        self.name = name
        self.allowed = allowed


class FileError(ParameterError):
    """A file given by the user cannot be used. The message is one line: option, file, key, reason."""

    def __init__(self, name: str, path: Path, reason: str) -> None:
        ValueError.__init__(self, f"{spell_option(name)}: {str(path)!r}: {reason}")
        self.name, self.allowed = name, reason


def read_json(name: str, path: Path, known: Collection[str]) -> dict[str, Any]:
    """The JSON object in a file that the option `name` gives, with keys among `known`. A byte-order mark is allowed.

    Raises FileError if the file cannot be read, is no JSON object, or has a key twice or one that is not known.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        for key in keys:
            if keys.count(key) > 1:
                raise FileError(name, path, f"the key {key[:40]!r} appears twice")
        return dict(pairs)

    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=unique)
    except FileError:
        raise
    except OSError as error:
        where = "" if path.is_absolute() else f"; relative paths are looked up in {Path.cwd()}"
        raise FileError(name, path, f"{error.strerror or error}{where}") from None
    except UnicodeDecodeError:
        raise FileError(name, path, "it is not text in UTF-8") from None
    except json.JSONDecodeError as error:
        raise FileError(name, path, f"line {error.lineno} is not JSON ({error.msg})") from None
    except (ValueError, RecursionError):
        raise FileError(name, path, "it is not JSON") from None
    if not isinstance(values, dict):
        raise FileError(name, path, f"a JSON object with any of {', '.join(sorted(known))} is expected")
    for key in values:
        if key not in known:
            raise FileError(name, path, f"the key {key[:40]!r} is none of {', '.join(sorted(known))}")
    return values


def spell_option(name: str) -> str:
    """The command-line option of a parameter: `batch_size` is `--batch-size`. An argument is in capitals."""
    return name if name.isupper() else f"--{name.replace('_', '-')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter of one or several entry points.

    Attributes
    ----------
    help : its meaning, one sentence without a full stop.
    kind : how text becomes a value; `classes` is a comma-separated list of names, `numbers` of whole numbers.
    default : the value when none is given; None, written `auto`, leaves the choice to the recipe or the program.
    low, high : inclusive bounds of a number or of the items of a list.
    above : exclusive lower bound of a number.
    choices : the allowed words of a `choice`.
    group : the part of the TUI's form that shows it.
    search : what `tune` may try: low and high of a logarithmic range of a number, or words. Empty: it is not tuned.
    """

    help: str
    kind: Kind
    default: Value
    low: float | None = None
    high: float | None = None
    above: float | None = None
    choices: tuple[str, ...] = ()
    group: Group = "how"
    search: tuple[Any, ...] = ()

    @property
    def allowed(self) -> str:
        """The allowed values, in words."""
        auto = f", or {AUTO}" if self.default is None else ""
        match self.kind:
            case "bool":
                return "true or false"
            case "choice":
                return "one of " + ", ".join(self.choices) + auto
            case "classes":
                return "different classes of the data set, separated by commas"
            case "numbers":
                return f"different whole numbers{self._range()} separated by commas"
            case "int" | "float":
                noun = "a whole number" if self.kind == "int" else "a number"
                return noun + self._range() + auto
            case "text":
                return "text" + auto

    def _range(self) -> str:
        if self.above is not None:
            upper = "" if self.high is None else f" and at most {self.high:g}"
            return f" above {self.above:g}{upper}"
        if self.low is not None and self.high is not None:
            return f" from {self.low:.15g} to {self.high:.15g}"
        return "" if self.low is None else f" of {self.low:g} or more"

    def parse(self, name: str, text: object) -> Value:
        """The value written as `text`. Raises ParameterError if it is no value of this parameter."""
        word = str(text).strip()
        if word == AUTO and self.default is None:
            return None
        try:
            value: Value = self.check(name, self._convert(word))
        except ValueError:
            raise ParameterError(name, text, self.allowed) from None
        return value

    def _convert(self, word: str) -> Value:
        """The value, or the word itself, which `check` refuses. Raises ValueError if it is no number."""
        match self.kind:
            case "bool":
                return {"true": True, "false": False}.get(word.lower(), word)
            case "int":
                return int(word) if len(word) < 20 else word
            case "float":
                return float(word)
            case "numbers":
                return tuple(map(int, word.split(","))) if len(word) <= 400 else word
            case "classes":
                return tuple(item.strip() for item in word.split(","))
            case "choice" | "text":
                return word

    def check(self, name: str, value: Any) -> Any:
        """`value` itself. Raises ParameterError if it is not allowed."""
        if value is None and self.default is None:
            return None
        match self.kind:
            case "bool":
                good = isinstance(value, bool)
            case "int":
                good = self._is_whole(value)
            case "float":
                good = isinstance(value, int | float) and not isinstance(value, bool) and self._within(value)
            case "choice":
                good = value in self.choices
            case "classes" | "numbers":
                item_good = _is_name if self.kind == "classes" else self._is_whole
                good = (
                    isinstance(value, tuple)
                    and bool(value)
                    and all(item_good(item) for item in value)
                    and len(set(value)) == len(value)
                )
            case "text":
                # Text that `parse` would strip or read as "not set" could not be read back.
                good = (
                    isinstance(value, str)
                    and bool(value or self.default == "")
                    and value.isprintable()
                    and value == value.strip()
                    and not (value == AUTO and self.default is None)
                )
        if not good:
            raise ParameterError(name, self.spell(value), self.allowed)
        return value

    def _is_whole(self, value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and self._within(value)

    def _within(self, number: float) -> bool:
        return (
            abs(number)
            <= sys.float_info.max  # neither NaN nor infinite, nor a whole number that no float can hold
            and (self.low is None or number >= self.low)
            and (self.above is None or number > self.above)
            and (self.high is None or number <= self.high)
        )

    def spell(self, value: Any) -> str:
        """`value` as text that `parse` reads back."""
        match value:
            case None:
                return AUTO
            case bool():
                return "true" if value else "false"
            case tuple():
                return ",".join(str(item) for item in value)
            case _:
                return str(value)


def _is_name(value: Any) -> bool:
    return (
        isinstance(value, str) and value.isprintable() and value == value.strip() != "" and "," not in value
    )


def param(parameter: Parameter) -> Any:
    """A dataclass field for `parameter`."""
    return dataclasses.field(default=parameter.default, metadata={"parameter": parameter})


# Short constructors: `seed: int = whole("random seed", 0, 0, 99)` is a field with its parameter.


def whole(doc: str, default: int | None, low: int, high: int, group: Group = "how") -> Any:
    """A field for a whole number from `low` to `high`; the default None is `auto`."""
    return param(Parameter(help=doc, kind="int", default=default, low=low, high=high, group=group))


def number(
    doc: str,
    default: float | None,
    *,
    low: float | None = None,
    above: float | None = None,
    high: float | None = None,
    group: Group = "how",
    search: tuple[float, ...] = (),
) -> Any:
    """A field for a number; `above` excludes the bound, `low` and `high` include it."""
    return param(Parameter(
        help=doc, kind="float", default=default, low=low, above=above, high=high, group=group, search=search
    ))  # fmt: skip


def flag(doc: str, default: bool = False, group: Group = "how") -> Any:
    """A field for `true` or `false`."""
    return param(Parameter(help=doc, kind="bool", default=default, group=group))


def choice(
    doc: str, choices: tuple[str, ...], default: str, group: Group = "how", search: tuple[str, ...] = ()
) -> Any:
    """A field for one of several words."""
    return param(
        Parameter(help=doc, kind="choice", choices=choices, default=default, group=group, search=search)
    )


def text(doc: str, default: str | None, group: Group = "how", search: tuple[str, ...] = ()) -> Any:
    """A field for printable text, which may be empty if the default is; the default None is `auto`."""
    return param(Parameter(help=doc, kind="text", default=default, group=group, search=search))


def numbers(doc: str, default: tuple[int, ...], low: int, high: int, group: Group = "what") -> Any:
    """A field for different whole numbers from `low` to `high`, in order."""
    return param(Parameter(help=doc, kind="numbers", default=default, low=low, high=high, group=group))


def class_names(doc: str, default: tuple[str, ...]) -> Any:
    """A field for classes of the data set, in order."""
    return param(Parameter(help=doc, kind="classes", default=default, group="what"))


class Parameters:
    """Base of the config dataclasses. Its `param` fields are checked when the config is made.

    Attributes
    ----------
    given : names of the fields that were passed, their defaults included.
    """

    given: frozenset[str]

    def __new__(cls, **given: object) -> Self:
        """Note which fields were passed."""
        made = super().__new__(cls)
        object.__setattr__(made, "given", frozenset(given))
        return made

    def __post_init__(self) -> None:
        for name, parameter in self.parameters().items():
            value = parameter.check(name, getattr(self, name))
            if parameter.kind == "float" and value is not None:
                object.__setattr__(self, name, float(value))

    @classmethod
    def parameters(cls) -> dict[str, Parameter]:
        """Name -> definition, in the order of the fields."""
        fields = dataclasses.fields(cls)  # type: ignore[arg-type]
        return {f.name: f.metadata["parameter"] for f in fields if "parameter" in f.metadata}

    @classmethod
    def read(cls, texts: Mapping[str, str]) -> Self:
        """The config whose given values are written as `texts`, by name.

        Raises ParameterError for the first value that is not allowed.
        """
        definitions = cls.parameters()
        return cls(**{name: definitions[name].parse(name, text) for name, text in texts.items()})

    def words(self) -> tuple[str, ...]:
        """The options that give these values: those that differ from their default, or may override a settings file."""
        return tuple(
            f"{spell_option(name)}={parameter.spell(getattr(self, name))}"
            for name, parameter in self.parameters().items()
            if name in self.given and (getattr(self, name) != parameter.default or "settings" in self.given)
        )

    def spelled(self) -> dict[str, str]:
        """Name -> value as text: the MLflow params, and the options of the command."""
        return {name: p.spell(getattr(self, name)) for name, p in self.parameters().items()}
