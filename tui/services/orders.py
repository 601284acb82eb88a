"""Orders of lists, and which way a metric is better."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TypeVar

from sa_mlops.datasets.spec import metric_word

T = TypeVar("T")
FALLING = (
    "forget.prob",
    "screen.prob",
    "forget.accuracy",
    "nelbo",
    "retain.fid",
    "time.",
    "attack.",
    "level.",
    "tamper.",
    "relearn.",
    "membership",
    "objective.gap",
    "class_drop",
    "ece",
    "overhead",
)
RISING = ("forget.entropy", "retain.", "objective.retention", "judge.accuracy", "accuracy")


def wish(key: str, forgotten: Collection[str] = ()) -> int:
    """+1 if more of a metric is better, -1 if less is, 0 if neither is known."""
    if key.startswith("class."):
        lost = any(key.startswith(f"class.{metric_word(c)}.") for c in forgotten)
        wanted = {"entropy": -1, "prob": 1, "accuracy": 1}.get(key.rpartition(".")[2], 0)
        return -wanted if lost else wanted
    if any(word in key for word in FALLING):
        return -1
    return 1 if any(word in key for word in RISING) else 0


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
