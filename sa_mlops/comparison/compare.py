"""`compare`: methods x classes x seeds, each a plain `forget`, on one table; versions that exist are reused."""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass
from typing import Any

from sa_mlops.comparison import table
from sa_mlops.comparison.estimate import left_seconds, pace_of
from sa_mlops.comparison.rows import BASE, Row, with_control
from sa_mlops.config import CONTROL, CompareConfig, ForgetConfig, RecipeConfig
from sa_mlops.core.training import NotFiniteError
from sa_mlops.errors import Stopped
from sa_mlops.methods.interface import Method, StepSettings, named
from sa_mlops.parameters import Parameters, spell_option
from sa_mlops.registry import lineage, names, versions
from sa_mlops.registry.names import BASE_PREFIX
from sa_mlops.registry.tracking import Recorder, open_run, run_metrics
from sa_mlops.registry.version import Version
from sa_mlops.stages import fisher, forget
from sa_mlops.stages.base import base_for
from sa_mlops.stages.context import Context
from sa_mlops.stages.make import reusable
from sa_mlops.stages.measure import Judges
from sa_mlops.stages.progress import bar, say
from sa_mlops.stages.result import Result
from sa_mlops.stages.runs import StageRun
from sa_mlops.tuning import tune
from sa_mlops.tuning.storage import alone, beside_store


def run(config: CompareConfig) -> Result:
    """Tune the methods, make the missing versions, and put all on one table."""
    ctx = Context.open(config)
    starts = [forget.starting_point(ctx, config.from_version, (c,)) for c in config.ordered]
    with ctx.runs.entry("compare", config) as entry:
        comparison = Comparison(ctx, config, entry, starts[0])
        entry.recorder.tags({names.STAGE: "compare", names.STEPS: str(len(comparison.places))})
        try:
            rows = comparison.rows()
        except (Stopped, KeyboardInterrupt):
            say("finished trials and versions are kept; the same command resumes from them")
            raise
        return table.finish(entry, rows, config.compared, len(ctx.classes))


@dataclass(frozen=True, slots=True)
class Place:
    """One row before it is made: a method as `--methods` names it, the index of a class, and a seed."""

    method: str
    label: int
    seed: int

    @property
    def plain(self) -> Method:
        """The method without its phase."""
        return named(self.method.split("+")[0])


@dataclass(frozen=True, slots=True)
class Bench:
    """Judges and versions that all rows of one seed share; `fisher` is None if no method needs it."""

    ctx: Context
    judges: Judges
    start: Version
    fisher: Version | None

    def protection(self, method: Method) -> Version | None:
        """The Fisher diagonal for a method, if it needs one."""
        return self.fisher if method.needs.fisher else None


class Comparison:
    """The rows of one command.

    Parameters
    ----------
    start : the generator that every method starts from; None for the base of each seed.

    Attributes
    ----------
    places : in the order of making.
    tuned : method -> the values that its study chose.
    """

    def __init__(self, ctx: Context, config: CompareConfig, entry: StageRun, start: Version | None) -> None:
        self.ctx, self.config, self.entry, self.start = ctx, config, entry, start
        self.places = [
            Place(word, c, seed) for seed in config.seeds for c in config.ordered for word in config.compared
        ]
        self.tuned: dict[str, dict[str, Any]] = {}
        self._benches: dict[int, Bench] = {}

    def rows(self) -> list[Row]:
        """The base, the control and the methods, for every class and seed."""
        left = self.estimate()
        if self.config.trials:
            self.tune()
        whole, begun = sum(left.values()), time.monotonic()
        found: list[Row] = []
        with bar("compare", len(self.places), "row") as shown:
            for done, place in enumerate(self.places, start=1):
                found.append(self.row(place))
                del left[place]
                minutes = left_seconds(left.values(), whole, time.monotonic() - begun) / 60
                say(f"{done}/{len(self.places)}  {found[-1].line}  {minutes:.1f} min left")
                self.entry.recorder.series({"progress/step": [(done, self.entry.now(), float(done))]})
                shown(done, {})
        return [*self.bases(found), *with_control(found)]

    def bench(self, seed: int) -> Bench:
        """From the registry, or made now."""
        if seed not in self._benches:
            here = self.ctx.reseeded(seed)
            judges = Judges(here)
            needed = any(place.plain.needs.fisher for place in self.places)
            # Comparisons that begin at the same moment, such as the tasks of a sweep, must share their versions.
            with alone(beside_store("compare")):
                start = self.start or base_for(here, self.config, judges)
                diagonal = fisher.obtain(here, start, self.config.fisher_samples) if needed else None
                judges.ready()
            self._benches[seed] = Bench(here, judges, start, diagonal)
        return self._benches[seed]

    def estimate(self) -> dict[Place, float]:
        """Say how long everything will take; the seconds of each row, 0 if its version exists."""
        first = self.bench(self.config.seeds[0])
        pace = pace_of(self.ctx, first.judges, first.start, first.fisher, self.config.ordered[0])
        absent = {seed for seed in self.config.seeds if not self._has_base(seed)}
        left = {}
        for place in self.places:
            bench = first if place.seed in absent else self.bench(place.seed)
            settings = self.settings(place, bench)
            key = forget.key_of(bench.ctx, bench.start, settings, bench.protection(place.plain))
            exists = place.seed not in absent and not self.config.trials and reusable(bench.ctx, key)
            left[place] = 0.0 if exists else pace.row(settings)
        trials = self.config.trials * sum(pace.trial(self.settings(p, first)) for p in self.studied)
        seconds = sum(left.values()) + trials / self.config.workers + len(absent) * pace.upstream
        made = sum(value > 0 for value in left.values())
        say(
            f"{len(self.places)} rows, {made} of them to be made, {self.config.trials} trials a method: about "
            f"{seconds / 60:.0f} min"
        )
        return left

    def _has_base(self, seed: int) -> bool:
        if self.start is not None or seed in self._benches:
            return True
        wanted = {names.STAGE: "base", names.SEED: str(seed), names.DATASET: self.ctx.dataset.name}
        return not self.ctx.fresh and versions.find(self.ctx.client, names.GENERATORS, wanted) is not None

    @property
    def studied(self) -> list[Place]:
        """The classes of each study; a phase has none and follows its method's."""
        words = dict.fromkeys(place.plain.name for place in self.places)
        tunable = [w for w in words if w != CONTROL and any(p.search for p in named(w).options().values())]
        return [Place(w, c, self.config.seeds[0]) for w in tunable for c in self.config.ordered[:2]]

    def tune(self) -> None:
        """A study for each method."""
        bench = self.bench(self.config.seed)
        for place in self.studied:
            name = place.method
            if name in self.tuned:
                continue
            study = self.config.study(name, self.settings(place, bench).length)
            values = tune.nested(bench.ctx, study, bench.judges, bench.start)
            if values is None:
                say(f"{name}: no trial keeps the retained classes; its defaults are compared")
            self.tuned[name] = values or {}

    def step(self, place: Place) -> ForgetConfig:
        """The command of a row."""
        return self.config.row(place.method, place.label, place.seed, self.tuned.get(place.plain.name, {}))

    def settings(self, place: Place, bench: Bench) -> StepSettings:
        """The settings of a row, as `forget` resolves them."""
        return self.step(place).resolved(bench.start.forgotten_indices, None, net=bench.start.net)

    def row(self, place: Place) -> Row:
        """From the registry, or made now, in a run that is the one of its command."""
        bench, step = self.bench(place.seed), self.step(place)
        settings, protection = self.settings(place, bench), bench.protection(place.plain)
        title = self._title(place.method, place.label, place.seed)
        row = Row(
            place.method, self.ctx.classes[place.label], place.seed, spelled("forget", step),
            target=settings.target, needs_data=place.plain.needs.data,
        )  # fmt: skip
        try:
            with self.ctx.runs.entry("forget", step, nested=True) as run:
                self.ctx.client.update_run(run.run_id, name=title)
                run.recorder.tags({names.COMMAND: row.command})
                version = forget.obtain(
                    bench.ctx, bench.start, settings, protection, bench.judges, last=place.label
                )
                metrics = bench.judges.ensure(version)
        except NotFiniteError as error:
            say(f"{title}: {error}")
            return row
        if protection is not None:
            taken = run_metrics(self.ctx.client, protection.run_id)
            metrics = metrics | {"time.fim": taken.get("time.fim", 0.0)}
        return row.measured(version.uri, names.results(metrics))

    def bases(self, found: list[Row]) -> list[Row]:
        """The base of each class and seed, which every version was measured beside, each in a run of its own."""
        measured: dict[tuple[str, int], dict[str, float]] = {}
        for row in found:
            beside = {
                k.removeprefix(BASE_PREFIX): v for k, v in row.metrics.items() if k.startswith(BASE_PREFIX)
            }
            if beside:
                measured[row.name, row.seed] = beside | measured.get((row.name, row.seed), {})
        return [self._base(name, seed, metrics) for (name, seed), metrics in measured.items()]

    def _base(self, name: str, seed: int, metrics: dict[str, float]) -> Row:
        start = self.bench(seed).start
        root = lineage.base_of(self.ctx.client, start) or start
        command = f"sa-mlops reproduce {root.number}"
        if self.start is None:
            shared = {key: getattr(self.config, key) for key in RecipeConfig.parameters()}
            command = spelled("base", RecipeConfig(**shared | {"seed": seed}))
        spent = run_metrics(self.ctx.client, root.run_id)
        metrics = metrics | {k: spent[k] for k in ("time.base",) if k in spent}
        tags = {names.STAGE: "base", names.REUSED: root.uri, names.COMMAND: command}
        title = self._title(BASE, self.ctx.classes.index(name), seed)
        with open_run(title, nested=True, tags=tags) as run_id:
            recorder = Recorder(self.ctx.client, run_id)
            recorder.params({"method": BASE, "classes": name, "seed": str(seed)})
            recorder.metrics(metrics)
        return Row(BASE, name, seed, command).measured(root.uri, metrics)

    def _title(self, method: str, label: int, seed: int) -> str:
        return f"{method}, class {self.ctx.classes[label]}, seed {seed}"


ALWAYS = ("method", "classes", "seed")
"""Options that a command shows even where they have their default."""


def spelled(entry: str, config: Parameters) -> str:
    """The command of an entry point as it would be typed."""
    values = config.spelled()
    words = [
        f"{spell_option(name)} {shlex.quote(values[name])}"
        for name, p in config.parameters().items()
        if (values[name] != p.spell(p.default) or name in ALWAYS) and name not in ("fresh", "device")
    ]
    return " ".join(["sa-mlops", entry, *words])
