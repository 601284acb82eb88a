"""The sections by key, a module each with `run(bench)`."""

from __future__ import annotations

SECTIONS: dict[str, str] = {
    "a": "fisher",
    "b": "base",
    "c": "forget",
    "d": "whole",
    "e": "tracking",
    "f": "sampling",
    "g": "startup",
    "h": "memory",
    "i": "growth",
    "j": "conv",
    "k": "crowd",
    "l": "reading",
}
