"""The result of a command: a document for programs and a text for people."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Result:
    """Result of a command.

    Attributes
    ----------
    document : JSON types only; numbers may be NaN.
    text : the same for people.
    passed : False for a negative answer, such as a failed gate (exit status 1).
    """

    document: dict[str, Any]
    text: str
    passed: bool = field(default=True)

    def json(self) -> str:
        """The document as text; a number that is not finite is null."""
        return json.dumps(_finite(self.document), indent=1, allow_nan=False)


def _finite(value: Any) -> Any:
    match value:
        case dict():
            return {key: _finite(item) for key, item in value.items()}
        case list() | tuple():
            return [_finite(item) for item in value]
        case float() if not math.isfinite(value):
            return None
        case _:
            return value


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns: the first to the left, the others to the right."""
    lines = [list(header), *[list(r) for r in rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    rule = "  ".join("-" * w for w in widths)

    def show(line: Sequence[str]) -> str:
        return "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()

    return "\n".join([show(lines[0]), rule, *map(show, lines[1:])])
