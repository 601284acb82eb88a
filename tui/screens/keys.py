"""Names of the keys' actions, and the file that gives actions other keys."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from textual.binding import Binding, BindingType

from tui.plain import clean

_known: dict[str, str] = {}


def bind(keys: str, action: str, description: str, tip: str = "", **more: Any) -> Binding:
    """Keys that the last line of a screen shows, with a longer text for its help."""
    return Binding(keys, action, description, tooltip=tip, **more)


def hidden(keys: str, action: str, description: str, tip: str = "") -> Binding:
    """Keys that only the help shows."""
    return bind(keys, action, description, tip, show=False)


def named(screen: str, bindings: Iterable[Binding]) -> list[BindingType]:
    """The bindings with a name each, `SCREEN.ACTION`; ACTION is its description with dashes."""
    found: list[BindingType] = []
    for binding in bindings:
        name = f"{screen}.{binding.description.replace(' ', '-')}"
        _known.setdefault(name, binding.key)
        found.append(replace(binding, id=name))
    return found


def known() -> Mapping[str, str]:
    """Name -> keys, of every action of the screens that were imported."""
    return dict(sorted(_known.items()))


def read(path: Path) -> tuple[dict[str, str], str]:
    """The keys in a file, and the reason why some or all are not used; empty without one.

    The file is a JSON object, name of an action -> keys with commas between them.
    """
    if not path.exists():
        return {}, ""
    try:
        given = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        return {}, f"{path} is not used: {clean(error, 100)}"
    if not isinstance(given, dict):
        return {}, f"{path} is not used: it holds no JSON object"
    kept = {k: v for k, v in given.items() if k in _known and isinstance(v, str) and v.strip()}
    odd = ", ".join(sorted(set(given) - set(kept)))
    return kept, f"{path} has unusable entries: {odd}; `sa-tui --keys` lists the actions" if odd else ""
