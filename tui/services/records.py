"""The registry and the runs as they were read from the store at one moment."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sa_mlops.registry import names, processes
from sa_mlops.registry.tables import Key
from sa_mlops.registry.version import Version, ancestry
from tui.plain import whole

RUN_NAME = "mlflow.runName"
PARENT_RUN = "mlflow.parentRunId"
ENTRY = "sa.entry"
PROJECT_ENTRY = "mlflow.project.entryPoint"
ERROR = "sa.error"
DONE_STEP = ("progress/step", "progress.step")
CURVES = ("train/", "train.")
"""Prefixes of the curves of a training loop; the second in older stores."""
SYSTEM = ("system/",)
STUDY = "sa.study"
TRIAL = "sa.trial"

LOST = "LOST"
"""Status of a run that the store holds for active although its process does not exist."""

CLASS_SETS = ("forget.", "retain.", "objective.")
"""Metrics over a version's forgotten or retained classes: comparable only between equal sets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run; times in milliseconds since 1970, `ended` 0 while it is active.

    Attributes
    ----------
    title : the run's name as MLflow keeps it beside the tags.
    artifacts : URI of the folder of its artifacts.
    """

    run_id: str
    title: str = ""
    artifacts: str = ""
    experiment: str = ""
    status: str = "RUNNING"
    started: int = 0
    ended: int = 0
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its name, else its id."""
        return self.tags.get(RUN_NAME, "") or self.title or self.run_id

    @property
    def entry(self) -> str:
        """The entry point, or for a nested run the stage."""
        return self.tags.get(ENTRY, "") or self.tags.get(PROJECT_ENTRY, "") or self.tags.get(names.STAGE, "")

    @property
    def label(self) -> str:
        """Name, after the entry point unless it begins with that: `mlflow run` makes names up."""
        return self.name if self.name.startswith(self.entry) or self.parent else f"{self.entry} {self.name}"

    @property
    def given(self) -> dict[str, str]:
        """Parameters as given on the command line; `mlflow run` writes an empty one as two quotes."""
        return {k: "" if v == "''" else v for k, v in self.params.items()}

    @property
    def classes(self) -> str:
        """The classes that it was given, those of a nested run in `forget`; older runs were given digits."""
        given = self.given
        return next((given[k] for k in ("classes", "forget", "digits", "digit") if given.get(k)), "")

    @property
    def stage(self) -> str:
        """Its stage; empty until the run has set it."""
        stage = self.tags.get(names.STAGE, "")
        return names.OLD_STAGES.get(stage, stage)

    @property
    def parent(self) -> str:
        """Id of the run that it is nested in, empty for none."""
        return self.tags.get(PARENT_RUN, "")

    @property
    def error(self) -> str:
        """Cause of its failure, one line; empty if none was recorded."""
        return self.tags.get(ERROR, "")

    @property
    def active(self) -> bool:
        """Whether it has not ended."""
        return self.status in ("RUNNING", "SCHEDULED")

    @property
    def share(self) -> float | None:
        """Share of its own steps that are done, [0, 1]; None if it has reported none."""
        steps = whole(self.tags.get(names.STEPS, ""))
        done = next((self.metrics[key] for key in DONE_STEP if key in self.metrics), None)
        return min(1.0, max(0.0, done / steps)) if steps and done is not None else None

    @property
    def reused(self) -> str:
        """URI of the version that it reused instead of making one, empty for none."""
        return self.tags.get(names.REUSED, "")

    @property
    def start_version(self) -> int | None:
        """Number of the generator that it starts from, if recorded."""
        for key in ("start", "resolved.start"):
            target = names.parse_uri(self.params.get(key, ""))
            if target is not None and target[0] == names.GENERATORS:
                return target[1]
        return whole(self.params.get("from_version", "")) or None

    def seconds(self) -> float:
        """Its duration so far."""
        end = self.ended / 1000 if self.ended else time.time()
        return max(0.0, end - self.started / 1000) if self.started else 0.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The registry and the runs.

    Attributes
    ----------
    versions : by registered model and number.
    aliases : registered model -> alias -> number.
    runs : by id.
    complete : False while older pages are still being read.
    mark : equal for equal states of the versions, where the store can tell.
    """

    versions: Mapping[Key, Version] = field(default_factory=dict)
    aliases: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    runs: Mapping[str, Run] = field(default_factory=dict)
    complete: bool = True
    mark: object = None

    def generator(self, number: int | None) -> Version | None:
        """Generator `number`."""
        return None if number is None else self.versions.get((names.GENERATORS, number))

    def aliases_of(self, version: Version) -> list[str]:
        """Aliases of a version."""
        pointed = [a for a, n in self.aliases.get(version.name, {}).items() if n == version.number]
        return sorted(pointed)

    def metrics_of(self, version: Version | None) -> Mapping[str, float]:
        """Results on a version's run; empty until the run was read."""
        run = self.runs.get(version.run_id) if version is not None else None
        return names.results(run.metrics) if run is not None else {}

    def parent_of(self, version: Version) -> Version | None:
        """The generator it was made from."""
        own = version.name == names.GENERATORS and version.parent == version.number
        return None if own else self.generator(version.parent)

    def last_forgotten(self, version: Version) -> tuple[str, ...]:
        """The classes that a version has forgotten and its parent has not; without any, the first of its data set."""
        parent = self.parent_of(version)
        before = parent.forgotten if parent is not None else ()
        return tuple(c for c in version.forgotten if c not in before) or version.classes[:1]

    def root_of(self, version: Version) -> Version | None:
        """The first ancestor; None for a root."""
        root = ancestry(version, self.generator)[0]
        return root if root != version else None

    def before(self, version: Version, ancestor: Version | None) -> Mapping[str, float]:
        """Results of an ancestor over the classes that `version` has forgotten and retains.

        With the version stand the base's results on those classes. Of other ancestors, metrics over sets of classes
        are computed from those of each class, or left out.
        """
        if ancestor is None:
            return {}
        known = self.metrics_of(ancestor)
        found = dict(known)
        if ancestor.forgotten != version.forgotten:
            found = {k: v for k, v in known.items() if not k.startswith(CLASS_SETS)}
            retained = [c for c in version.classes if c not in version.forgotten]
            for prefix, classes in (("forget", version.forgotten), ("retain", retained)):
                for measure in ("prob", "entropy", "accuracy"):
                    keys = [names.class_metric(c, measure) for c in classes]
                    values = [known[key] for key in keys if key in known]
                    if values and len(values) == len(keys):
                        found[f"{prefix}.{measure}"] = sum(values) / len(values)
                        found[f"{prefix}.{measure}_min"] = min(values)
        if ancestor == self.root_of(version):
            own = self.metrics_of(version)
            found |= {k.removeprefix("base."): v for k, v in own.items() if k.startswith("base.")}
        return found

    def resolved_params(self, version: Version) -> Mapping[str, str]:
        """Parameters of a version's run; `auto` and defaults as they were resolved."""
        run = self.runs.get(version.run_id)
        given = run.given if run is not None else {}
        return {k: given.get(f"resolved.{k}", v) for k, v in given.items() if not k.startswith("resolved.")}

    def maker_of(self, run: Run) -> Run | None:
        """The run that made the version that a run reused."""
        target = names.parse_uri(run.reused)
        version = self.versions.get(target) if target else None
        return self.runs.get(version.run_id) if version is not None else None

    def children_of(self, run_id: str) -> list[Run]:
        """Runs nested in a run, oldest first."""
        found = [r for r in self.runs.values() if r.parent == run_id and r.run_id != run_id]
        return sorted(found, key=lambda r: (r.started, r.run_id))

    def made_by(self, run_id: str) -> list[Version]:
        """Generators that a run or the runs nested in it made, oldest first."""
        family = {run_id, *(r.run_id for r in self.children_of(run_id))}
        found = [v for v in self.versions.values() if v.run_id in family and v.name == names.GENERATORS]
        return sorted(found, key=lambda v: v.number)


def term(metric: str, prefixes: tuple[str, ...] = CURVES) -> str:
    """A curve's name without its prefix; empty for a metric that is no curve."""
    return next((metric.removeprefix(p) for p in prefixes if metric.startswith(p)), "")


def with_lost(snapshot: Snapshot) -> Snapshot:
    """The snapshot with active runs without a process marked as lost; the same object if there are none."""
    active = (run for run in snapshot.runs.values() if run.active)
    lost = {
        r.run_id: replace(r, status=LOST)
        for r in active
        if processes.fate(processes.of_run(r.tags)) == "gone"
    }
    return replace(snapshot, runs={**snapshot.runs, **lost}) if lost else snapshot


def working(snapshot: Snapshot, run: Run) -> Run:
    """The run that works at the moment: the newest active one nested in it, at any depth, else the run itself."""
    below = {run.run_id: run}
    while active := [r for r in snapshot.children_of(run.run_id) if r.active and r.run_id not in below]:
        run = max(active, key=lambda r: r.started)
        below[run.run_id] = run
    return run


def progress(snapshot: Snapshot, run: Run) -> tuple[Run, float | None]:
    """A run and the share of its steps done: the run itself if it counts them, else the one that works at the moment.

    The steps of a study are its finished trials, except while something that its trials need is made.
    """
    now = working(snapshot, run)
    if run.stage == "tune" and (steps := whole(run.tags.get(names.STEPS, ""))):
        children = snapshot.children_of(run.run_id)
        trials = [r for r in children if r.stage == "trial"]
        if now is run or any(r.active for r in trials):
            return run, min(1.0, sum(r.status == "FINISHED" for r in trials) / steps)
    own = run.share
    return (run, own) if own is not None and (own < 1 or now is run) else (now, now.share)


def seconds_left(run: Run, share: float | None) -> float | None:
    """Estimate from the share done since the run began; None if unknown."""
    if not run.active or not share or share >= 1:
        return None
    return run.seconds() / share * (1 - share)
