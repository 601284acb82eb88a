"""Settings as a version's tag `sa.settings` records them, back in their types. Nothing in a tag is believed."""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from sa_mlops.errors import CommandError
from sa_mlops.methods.interface import DEFAULT, StepSettings, known, named
from sa_mlops.settings import CLASSES

MAX_TEXT = 20_000
LIMITS: Mapping[str, tuple[float, float]] = {
    "steps": (1, 10_000_000),
    "batch_size": (2, 65_536),
    "lr": (1e-12, 1),
    "z_dim": (1, 256),
    "samples": (1, 10_000_000),
    "replay_ratio": (1e-6, 64),
    "reteach": (0, 0.9),
    "pool": (1, 1_000_000),
    "inner_steps": (0, 10_000),
}
"""Field -> least and largest value; other numbers are from 0 to 1e12."""
ANY = (0.0, 1e12)

Settings = TypeVar("Settings")


class RecordedError(CommandError):
    """Settings that cannot be read. The message is one line."""


def read(kind: type[Settings], text: str) -> Settings:
    """The settings dataclass `kind` that `text` spells as JSON.

    Raises
    ------
    RecordedError : for anything but exactly its fields (those with a default may be absent), each of its type, finite.
    """
    made: Settings = _dataclass(kind, _parsed(text), "settings")
    return made


def read_step(text: str) -> StepSettings:
    """The settings of a step of forgetting, of the method that they name. Errors as in `read`."""
    value = _parsed(text)
    method = value.get("method", DEFAULT) if isinstance(value, dict) else DEFAULT
    if method not in known():
        raise RecordedError(f"settings.method: {_short(method)} is none of {', '.join(known())}")
    made: StepSettings = _dataclass(named(method).settings, value, "settings")
    return made


def _parsed(text: str) -> Any:
    if len(text) > MAX_TEXT:
        raise RecordedError(f"recorded settings are longer than {MAX_TEXT} characters")
    try:
        return json.loads(text, parse_constant=_no_constant, parse_int=_whole, object_pairs_hook=_no_twins)
    except (ValueError, RecursionError) as error:
        raise RecordedError(f"recorded settings are no JSON ({_short(error)})") from None


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is no number")


def _whole(word: str) -> int:
    if len(word) > 20:
        raise ValueError("a whole number of more than 20 digits")
    return int(word)


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key appears twice")
    return found


def _dataclass(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise RecordedError(f"{where}: {_short(value)} is no object")
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    for name in value:
        if name not in fields:
            raise RecordedError(f"{where}: {_short(name)} is not known")
    for name, field in fields.items():
        if name not in value and field.default is dataclasses.MISSING:
            raise RecordedError(f"{where}: {name} is missing")
    return kind(**{name: _typed(hints[name], item, f"{where}.{name}", name) for name, item in value.items()})


def _typed(kind: Any, value: Any, where: str, name: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, value, where)
    origin = get_origin(kind)
    low, high = LIMITS.get(name, ANY)
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        (inner,) = (a for a in get_args(kind) if a is not type(None))
        return _typed(inner, value, where, name)
    if origin is Literal:
        if isinstance(value, str) and value in get_args(kind):
            return value
        raise RecordedError(f"{where}: {_short(value)} is none of {', '.join(map(str, get_args(kind)))}")
    if origin is tuple:
        digits = [v for v in value if _is_whole(v) and 0 <= v < CLASSES] if isinstance(value, list) else []
        if isinstance(value, list) and len(digits) == len(value) == len(set(digits)):
            return tuple(digits)
        raise RecordedError(f"{where}: {_short(value)} is no list of different digits")
    if kind is bool and isinstance(value, bool):
        return value
    if kind is int and _is_whole(value) and low <= value <= high:
        return value
    if kind is float and (_is_whole(value) or isinstance(value, float)) and low <= value <= high:
        # A float's JSON may have lost its point; a NaN is in no range.
        return float(value)
    if kind is str and isinstance(value, str) and len(value) <= 100 and value.isprintable():
        return value
    wanted = {int: f"a whole number from {low:g} to {high:g}", float: f"a number from {low:g} to {high:g}"}
    raise RecordedError(f"{where}: {_short(value)} is not {wanted.get(kind, f'a {kind.__name__}')}")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _short(value: object) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    text = " ".join((repr(value) if not isinstance(value, Exception) else str(value)).split())
    return text if len(text) <= 60 else text[:57] + "..."
