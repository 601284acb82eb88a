"""Orders of lists."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


def ranked(items: Iterable[T], value: Callable[[T], float | None], *, rising: bool = False) -> list[T]:
    """The best first, items without a value last; equal ones stay in their order.

    Parameters
    ----------
    rising : whether more is better.
    """

    def place(item: T) -> float:
        found = value(item)
        return math.inf if found is None or math.isnan(found) else -found if rising else found

    return sorted(items, key=place)


def after(items: Sequence[T], item: T, by: int = 1) -> T:
    """The item `by` places behind another, in a ring; behind one that is not there, the first or the last."""
    at = items.index(item) if item in items else -min(by, 1)
    return items[(at + by) % len(items)]
