"""The filter line: words, tags, classes, aliases and ranges of metrics, all of which must hold."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sa_mlops.registry import names
from sa_mlops.registry.version import Version

SHORT = {
    "p": "forget.prob",
    "h": "forget.entropy",
    "r": "retain.accuracy",
    "fid": "retain.fid",
    "nelbo": "base.test_nelbo",
}
"""Short names of metrics in filters and orders."""

HELP = "words  stage:forget  class:1  @champion  seed=0  forget.prob<0.15  r>=0.95"
COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
RANGE = re.compile(r"([\w./-]+)(<=|>=|<|>)(-?[\d.]+(?:e-?\d+)?)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter line, split into its words."""

    text: str = ""

    def __bool__(self) -> bool:
        return bool(self.text.strip())

    def matches(self, version: Version, aliases: Sequence[str], metrics: Mapping[str, float]) -> bool:
        """Whether every word holds for a version."""
        return all(_holds(word, version, aliases, metrics) for word in self.text.lower().split())


def _holds(word: str, version: Version, aliases: Sequence[str], metrics: Mapping[str, float]) -> bool:
    if bounds := RANGE.fullmatch(word):
        value = metrics.get(SHORT.get(bounds[1], bounds[1]))
        try:
            return value is not None and COMPARE[bounds[2]](value, float(bounds[3]))
        except ValueError:
            return False
    if word.startswith("@"):
        return any(word[1:] in alias.lower() for alias in aliases)
    if word.startswith("class:"):
        wanted = word.partition(":")[2].split(",")
        forgotten = {name.lower().replace(" ", "_") for name in version.forgotten}
        return {name for name in wanted if name} <= forgotten
    for mark in (":", "="):
        key, found, wanted_text = word.partition(mark)
        if found and key:
            tags = {**version.tags, names.STAGE: version.stage}
            value_text = tags.get(f"sa.{key}", tags.get(key))
            if value_text is not None:
                return wanted_text == value_text.lower() if mark == "=" else wanted_text in value_text.lower()
    parts = (version.title, version.uri, version.description, *aliases, *version.tags, *version.tags.values())
    return word in " ".join(parts).lower()
