"""Settings read back from a version's tag `sa.settings`: dataclasses of numbers, words and classes."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from sa_mlops.errors import CommandError
from sa_mlops.methods.interface import DEFAULT, StepSettings, known, named
from sa_mlops.registry.names import MAX_SETTINGS

RANGES: Mapping[str, tuple[float, float]] = {
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
STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

Settings = TypeVar("Settings")


class RecordedError(CommandError):
    """Settings that cannot be read. The message is one line."""


def read(kind: type[Settings], text: str, classes: int) -> Settings:
    """The settings dataclass `kind` from its JSON; its lists are of different classes below `classes`.

    Raises RecordedError for missing or unknown fields, and for values of another type or out of range.
    """
    _parsed(text)
    for part in _parts(kind):
        part.__pydantic_config__ = STRICT
    try:
        made: Settings = TypeAdapter(kind).validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(str(word)[:40] for word in ("settings", *first["loc"])[:4])
        given = "" if first["type"] == "missing" else f", not {_short(first['input'])}"
        raise RecordedError(f"{where}: {_short(first['msg'])}{given}") from None
    _check(made, classes, "settings")
    return made


def read_step(text: str, classes: int) -> StepSettings:
    """The settings of a step of forgetting by the method that they name. Errors as in `read`."""
    value = _parsed(text)
    method = value.get("method", DEFAULT) if isinstance(value, dict) else DEFAULT
    if method not in known():
        raise RecordedError(f"settings.method: {_short(method)} is none of {', '.join(known())}")
    return read(named(method).recorded, text, classes)


def _parsed(text: str) -> Any:
    if len(text) > MAX_SETTINGS:
        raise RecordedError(f"recorded settings are longer than {MAX_SETTINGS} characters")
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise RecordedError(f"recorded settings are not JSON ({_short(error)})") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key appears twice")
    return dict(pairs)


def _parts(kind: Any) -> Iterator[Any]:
    """A dataclass and the dataclasses in its fields."""
    if dataclasses.is_dataclass(kind):
        yield kind
        for hint in typing.get_type_hints(kind).values():
            for inner in (hint, *typing.get_args(hint)):
                yield from _parts(inner)


def _check(settings: Any, classes: int, where: str) -> None:
    for field in dataclasses.fields(settings):
        value, name = getattr(settings, field.name), f"{where}.{field.name}"
        low, high = RANGES.get(field.name, (0, 1e12))
        if dataclasses.is_dataclass(value):
            _check(value, classes, name)
        elif isinstance(value, tuple):
            if len(set(value)) < len(value) or not all(0 <= c < classes for c in value):
                raise RecordedError(f"{name}: {_short(value)} is not a list of different classes")
        elif isinstance(value, str):
            if len(value) > 100 or not value.isprintable():
                raise RecordedError(f"{name}: {_short(value)} is not a short printable text")
        elif isinstance(value, int | float) and not isinstance(value, bool) and not low <= value <= high:
            raise RecordedError(f"{name}: {_short(value)} is not from {low:g} to {high:g}")


def _short(value: object) -> str:
    text = " ".join((str(value) if isinstance(value, Exception | str) else repr(value)).split())
    return text if len(text) <= 60 else text[:57] + "..."
