"""What a parameter is: type, default, range and help, said once and read by CLI, MLproject, TUI and README.

Nothing heavy is imported here: `sa-mlops --help` and the TUI's first screen depend on it.
"""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["int", "float", "bool", "choice", "digits", "numbers", "text"]
Group = Literal["what", "how", "where"]
Value = int | float | bool | str | tuple[int, ...] | None

AUTO = "auto"
"""Spelling of "not set: take it from the recipe" in every place where values are text."""


class ParameterError(ValueError):
    """A value that a user gave is not allowed. The message is one line: option, value, what is allowed."""

    def __init__(self, name: str, value: object, allowed: str) -> None:
        shown = repr(value) if isinstance(value, str) else str(value)
        if len(shown) > 80:
            shown = shown[:77] + "..."
        super().__init__(f"--{name.replace('_', '-')}: {shown} is not allowed; give {allowed}")
        self.name = name
        self.allowed = allowed


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter of one or several entry points.

    Attributes
    ----------
    help : what it means, one sentence without a full stop.
    kind : how text becomes a value; `digits` is a comma-separated list of classes, `numbers` of whole numbers.
    default : the value when nothing is given; None means that the recipe decides (written `auto`).
    low, high : inclusive bounds of a number or of the items of a list.
    above : exclusive lower bound of a number.
    choices : the allowed words of a `choice`.
    empty : whether a list may be empty.
    group : where the TUI's form shows it.
    """

    help: str
    kind: Kind
    default: Value
    low: float | None = None
    high: float | None = None
    above: float | None = None
    choices: tuple[str, ...] = ()
    empty: bool = False
    group: Group = "how"

    @property
    def allowed(self) -> str:
        """What is allowed, in words."""
        auto = f", or {AUTO}" if self.default is None else ""
        match self.kind:
            case "bool":
                return "true or false"
            case "choice":
                return "one of " + ", ".join(self.choices) + auto
            case "digits" | "numbers":
                noun = "different digits" if self.kind == "digits" else "different whole numbers"
                return f"{noun}{self._range()} separated by commas" + (", or nothing" if self.empty else "")
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
        """The value that `text` spells.

        Raises
        ------
        ParameterError : if it spells none, or one out of range.
        """
        word = str(text).strip()
        if word == AUTO and self.default is None:
            return None
        try:
            value: Value = self.check(name, self._convert(word))
        except ValueError:
            raise ParameterError(name, text, self.allowed) from None
        return value

    def _convert(self, word: str) -> Value:
        match self.kind:
            case "bool":
                return (
                    {"true": True, "false": False}[word.lower()]
                    if word.lower() in ("true", "false")
                    else _fail()
                )
            case "int":
                return int(word) if len(word) < 20 else _fail()
            case "float":
                return float(word)
            case "digits" | "numbers":
                if len(word) > 400:
                    _fail()
                return tuple(int(item) for item in word.split(",")) if word else ()
            case "choice" | "text":
                return word

    def check(self, name: str, value: Any) -> Any:
        """`value` itself, if it is allowed.

        Raises
        ------
        ParameterError : if it is not.
        """
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
            case "digits" | "numbers":
                good = (
                    isinstance(value, tuple)
                    and all(self._is_whole(item) for item in value)
                    and len(set(value)) == len(value)
                    and (bool(value) or self.empty)
                )
            case "text":
                # What `parse` would strip or take for "not set" could not be read back.
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


def _fail() -> Any:
    raise ValueError


def param(parameter: Parameter) -> Any:
    """A dataclass field for `parameter`."""
    return dataclasses.field(default=parameter.default, metadata={"parameter": parameter})


class Parameters:
    """Base of the config dataclasses: every field is a `param`, and is checked when the config is made."""

    def __post_init__(self) -> None:
        for name, parameter in self.parameters().items():
            value = parameter.check(name, getattr(self, name))
            if parameter.kind == "float" and value is not None:
                object.__setattr__(self, name, float(value))

    @classmethod
    def parameters(cls) -> dict[str, Parameter]:
        """Name -> definition, in the order of the fields."""
        return {f.name: f.metadata["parameter"] for f in dataclasses.fields(cls)}  # type: ignore[arg-type]

    def spelled(self) -> dict[str, str]:
        """Name -> value as text: what is logged as MLflow params and shown as a command."""
        return {name: p.spell(getattr(self, name)) for name, p in self.parameters().items()}
