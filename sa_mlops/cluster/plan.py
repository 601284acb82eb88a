"""The commands of a job: one, or one per value of a sweep, or one per worker of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sa_mlops.config import (
    ALIASES,
    ENTRY_POINTS,
    EntryPoint,
    FisherConfig,
    FromVersionConfig,
    RecipeConfig,
    RunConfig,
    SubmitConfig,
    TuneConfig,
)
from sa_mlops.parameters import ParameterError, Parameters, Value

UPSTREAM: Mapping[str, str] = {
    "base": "judge",
    "fim": "base",
    "forget": "base",
    "retrain": "judge",
    "sequential": "base",
    "tune": "fim",
    "compare": "fim",
}
"""Entry point whose result all tasks of a job need. It runs once before them: tasks that start together on an empty
store would otherwise each run it."""
SHARED: Sequence[type[Parameters]] = (RecipeConfig, FisherConfig, FromVersionConfig)
"""Configs whose parameters an entry point passes on to the one upstream."""
TASKS = 1000
"""Most tasks of a job."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a job: its name in lists, and its words after `sa-mlops`."""

    name: str
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """The commands of a job.

    Attributes
    ----------
    upstream : runs before all others, if there is one.
    steps : run in any order or at the same time.
    """

    entry: str
    upstream: Command | None
    steps: tuple[Command, ...]

    @property
    def ordered(self) -> tuple[Command, ...]:
        """All commands, the upstream one first."""
        return (self.upstream, *self.steps) if self.upstream else self.steps


def plan(entry: EntryPoint, values: Mapping[str, Value], order: SubmitConfig) -> Plan:
    """The commands for an entry point with these values, which are all checked.

    Raises ParameterError for a value that the entry point does not take, or a malformed sweep.
    """
    config = entry.config(**values)  # type: ignore[arg-type]
    if order.sweep:
        name, swept = sweep(entry, order.sweep)
        variants = [dict(values) | {name: value} for value in swept]
        for variant in variants:
            entry.config(**variant)  # type: ignore[arg-type]
        spell = entry.config.parameters()[name].spell
        steps = [Command(f"{name}={spell(v[name])}", command(entry, v)) for v in variants]
    elif isinstance(config, TuneConfig) and config.workers > 1:
        name = "workers"
        if config.fresh:
            raise ParameterError("fresh", "true", "false: the workers of a study share their base and judges")
        words = command(entry, dict(values) | {"workers": 1})
        steps = [Command(f"worker={i}", words) for i in range(1, config.workers + 1)]
    else:
        return Plan(entry.name, None, (Command(entry.name, command(entry, values)),))
    return Plan(entry.name, _upstream(entry, config, name), tuple(steps))


def sweep(entry: EntryPoint, text: str) -> tuple[str, list[Value]]:
    """Name and values of a sweep such as `classes=0,1,2`. Raises ParameterError if it is malformed."""
    single = {k: p for k, p in entry.config.parameters().items() if p.kind != "numbers"}
    word, _, values = text.partition("=")
    name = word.strip().removeprefix("--").replace("-", "_")
    name = ALIASES.get(name, name)
    if name not in single or not values:
        raise ParameterError("sweep", text, f"NAME=VALUE,VALUE,... with a name of {', '.join(single)}")
    found = [single[name].parse(name, value) for value in values.split(",")]
    if len(set(found)) < len(found) or len(found) > TASKS:
        raise ParameterError("sweep", text, f"different values, at most {TASKS}")
    return name, found


def option_words(entry: EntryPoint) -> dict[str, str]:
    """Parameter of an entry point -> its option of `submit`.

    A name that the scheduler's options have too, such as `target` of `probe`, gets the entry point's as prefix.
    """
    others = SubmitConfig.parameters()
    return {name: f"{entry.name}_{name}" if name in others else name for name in entry.config.parameters()}


def command(entry: EntryPoint, values: Mapping[str, Value]) -> tuple[str, ...]:
    """The words after `sa-mlops`."""
    return entry.name, *entry.config(**values).words()  # type: ignore[arg-type]


def _upstream(entry: EntryPoint, config: RunConfig, varied: str) -> Command | None:
    """The command for the entry point upstream; None if the tasks need none or do not share it."""
    name = UPSTREAM.get(entry.name)
    if name is None or config.fresh:
        return None
    first = ENTRY_POINTS[name]
    if getattr(config, "from_version", "auto") != "auto" and "from_version" not in first.config.parameters():
        return None
    shared = {key for owner in SHARED for key in owner.parameters()} & first.config.parameters().keys()
    if varied in shared:
        return None
    given = {key: getattr(config, key) for key in sorted(shared) if hasattr(config, key)}
    return Command("upstream", command(first, given))
