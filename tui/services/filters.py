"""The filter line: words, tags, classes, aliases and ranges of metrics, all of which must hold; `-` negates one."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sa_mlops.registry import names
from sa_mlops.registry.version import Version
from tui.services.records import Run

SHORT = {
    "p": "forget.prob",
    "h": "forget.entropy",
    "r": "retain.accuracy",
    "fid": "retain.fid",
    "nelbo": "base.test_nelbo",
}
"""Short names of metrics in filters and orders."""

HELP = "words  stage:forget  class:1  @champion  seed=0  p<0.15  -word excludes"
RUN_HELP = "words  state:failed  entry:forget  class:1  p<0.15  lr=.01  -word excludes"
"""Both fit into a line of 80 cells."""
UNMATCHED = "nothing fits the filter; esc shows all"
NOT = ("-", "!")
"""Marks of a word that must not hold."""
COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
RANGE = re.compile(r"([\w./-]+)(<=|>=|<|>)(-?[\d.]+(?:e-?\d+)?)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The parts of a version or run that a filter reads.

    Attributes
    ----------
    texts : searched for words.
    fields : for `key:part` and `key=value`; tags also without their `sa.`.
    """

    texts: Sequence[str]
    fields: Mapping[str, str]
    metrics: Mapping[str, float]
    classes: Sequence[str] = ()
    aliases: Sequence[str] = ()


def of_version(version: Version, aliases: Sequence[str], metrics: Mapping[str, float]) -> Subject:
    """A version as a filter reads it."""
    return Subject(
        texts=(version.title, version.uri, version.description, *version.tags, *_short(version.tags)),
        fields={**version.tags, names.STAGE: version.stage},
        metrics=metrics,
        classes=version.forgotten,
        aliases=aliases,
    )


def of_run(run: Run, numbers: Mapping[str, float] | None = None) -> Subject:
    """A run as a filter reads it; `numbers` are further ones that ranges name."""
    state = {"FINISHED": "done"}.get(run.status, run.status.lower())
    own = {"state": state, "entry": run.entry, "from": str(run.start_version or ""), "name": run.name}
    return Subject(
        texts=(run.label, run.run_id, run.error, state, *run.params.values(), *run.tags.values()),
        fields={**run.tags, **run.given, **own},
        metrics=names.results(run.metrics) | {"seconds": run.seconds()} | dict(numbers or {}),
        classes=names.parse_classes(run.classes),
    )


def _short(tags: Mapping[str, str]) -> Iterable[str]:
    """Values of tags less those that hold whole sentences or settings, in which any word may stand."""
    return (value for key, value in tags.items() if key not in (names.LEVEL, names.SETTINGS, names.CLASSES))


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter line, split into its words."""

    text: str = ""

    def __bool__(self) -> bool:
        return bool(self.text.strip())

    def matches(self, subject: Subject) -> bool:
        """Whether every word holds, and no negated one."""
        return all(_wanted(word, subject) for word in self.text.lower().split())


def _wanted(word: str, subject: Subject) -> bool:
    if word in NOT:  # still being typed
        return True
    return not _holds(word[1:], subject) if word.startswith(NOT) else _holds(word, subject)


def _holds(word: str, subject: Subject) -> bool:
    if bounds := RANGE.fullmatch(word):
        value = subject.metrics.get(SHORT.get(bounds[1], bounds[1]))
        try:
            return value is not None and COMPARE[bounds[2]](value, float(bounds[3]))
        except ValueError:
            return False
    if word.startswith("@"):
        return any(word[1:] in alias.lower() for alias in subject.aliases)
    if word.startswith("class:"):
        wanted = word.partition(":")[2].split(",")
        found = {name.lower().replace(" ", "_") for name in subject.classes}
        return {name for name in wanted if name} <= found
    for mark in (":", "="):
        key, split, wanted_text = word.partition(mark)
        if split and key:
            text = subject.fields.get(f"sa.{key}", subject.fields.get(key))
            if text is not None:
                return wanted_text == text.lower() if mark == "=" else wanted_text in text.lower()
    return word in " ".join((*subject.texts, *subject.aliases)).lower()
