"""The final choice: the chosen settings against the default and the paper under fresh seeds, and the gates."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import mlflow
import numpy as np
import pandas as pd

from sa_mlops.config import ForgetConfig, TuneConfig
from sa_mlops.registry import gates, log, names, stores, tracking
from sa_mlops.registry.tracking import Recorder
from sa_mlops.registry.version import Version
from sa_mlops.stages.progress import say
from sa_mlops.stages.result import Result, table
from sa_mlops.stages.runs import StageRun
from sa_mlops.tuning.front import knee
from sa_mlops.tuning.objective import TrialRunner
from sa_mlops.tuning.space import recipe_values
from sa_mlops.tuning.study import Finished

CHOSEN, DEFAULT, BUDGET, PAPER = "chosen", "default recipe", "default, tight budget", "paper, tight budget"
SETTINGS_FILE = "best_settings.json"
COLUMNS = {
    "gap": "objective.gap",
    "retention": "objective.retention",
    "p": "forget.prob",
    "H": "forget.entropy",
    "retained": "retain.accuracy",
    "FID": "retain.fid",
    "seconds": "time.forget",
}
"""Heading -> metric of the comparison."""


def choose(found: Finished, passed: Sequence[bool]) -> int | None:
    """Row of the knee of the front, of its trials whose versions pass every gate if there are any; None if empty."""
    front = np.flatnonzero(found.front)
    if not len(front):
        return None
    passing = front[np.asarray(passed)[front]]
    rows = passing if len(passing) else front
    return int(rows[knee(found.losses[rows])])


def best_settings(config: TuneConfig, values: dict[str, Any]) -> dict[str, Any]:
    """The settings for `forget --settings`: the chosen values and those that the study held fixed."""
    step = config.trial(config.ordered[0], config.seed, values)
    fixed = ("recipe", "net", "method", "z_dim", "fisher_samples", "harden", "steps")
    return {name: getattr(step, name) for name in fixed} | values


def log_settings(entry: StageRun, settings: dict[str, Any]) -> str:
    """Log the chosen settings as a file of the run; its path."""
    entry.client.log_text(entry.run_id, json.dumps(settings, indent=1) + "\n", SETTINGS_FILE)
    folder = stores.local(entry.client.get_run(entry.run_id).info.artifact_uri)
    if folder is not None:
        return str(folder / SETTINGS_FILE)
    return str(mlflow.artifacts.download_artifacts(f"runs:/{entry.run_id}/{SETTINGS_FILE}"))


@dataclass(frozen=True, slots=True)
class Candidate:
    """One setting with one class forgotten under one fresh seed.

    Attributes
    ----------
    settings : name of the setting.
    forgotten : name of the class.
    missed : the gates that it fails.
    version : only the chosen settings are registered.
    """

    settings: str
    forgotten: str
    seed: int
    metrics: Mapping[str, float]
    missed: tuple[str, ...]
    version: Version | None = None

    @property
    def line(self) -> str:
        """The candidate as one line."""
        numbers = "  ".join(
            f"{heading} {self.metrics.get(key, np.nan):.4f}" for heading, key in COLUMNS.items()
        )
        verdict = "misses " + ", ".join(self.missed) if self.missed else "passes"
        return f"{self.settings}, class {self.forgotten}, seed {self.seed}: {numbers}  {verdict}"


def fresh_seeds(used: tuple[int, ...], count: int) -> tuple[int, ...]:
    """The first `count` seeds after the largest used one."""
    return tuple(range(max(used) + 1, max(used) + 1 + count))


def final(runner: TrialRunner, entry: StageRun, values: Mapping[str, Any]) -> Result:
    """Compare the chosen settings with others under fresh seeds, and promote them if they pass every gate.

    The default recipe keeps its own steps; the default's and the paper's values also run at a trial's budget. If all
    chosen generators pass, the one of the first class and seed becomes the champion, not the best one.
    """
    config = runner.config
    seeds = fresh_seeds(config.seeds, config.final_seeds)
    rivals: dict[str, Mapping[str, Any]] = {
        CHOSEN: values,
        DEFAULT: {"steps": None},
        BUDGET: recipe_values(config, config.recipe),
        PAPER: recipe_values(config, "paper"),
    }
    found: list[Candidate] = []
    made: dict[Any, Candidate] = {}
    for name, settings in rivals.items():
        for label in config.ordered:
            for seed in seeds:
                step = config.trial(label, seed, settings)
                key = runner.resolved(step), seed
                if key in made:
                    candidate = replace(made[key], settings=name, version=None)
                else:
                    candidate = made[key] = _candidate(runner, step, label, name)
                found.append(candidate)
                say(candidate.line)
    return _conclude(runner, entry, found, list(rivals), seeds)


def _candidate(runner: TrialRunner, step: ForgetConfig, label: int, name: str) -> Candidate:
    """The chosen settings as a version; rivals are measured in a run of their own, and not registered."""
    classes = runner.ctx.dataset.spec.classes
    forgotten = runner.forgotten(label)
    version = runner.publish(step) if name == CHOSEN else None
    if version is not None:
        metrics = runner.judges.ensure(version)
    else:
        title = f"{name}, class {classes[label]}, seed {step.seed}"
        with tracking.open_run(title, nested=True, tags={names.STAGE: "rival"}) as run:
            model, seconds = runner.make(step)
            metrics = runner.judges.measure(model, forgotten).metrics() | {"time.forget": seconds}
            metrics |= runner.judges.beside_base(model, runner.base, forgotten)
            Recorder(runner.ctx.client, run).metrics(metrics)
    verdicts = gates.judge(
        classes, [classes[c] for c in forgotten], metrics, target=runner.resolved(step).target
    )
    missed = tuple(v.gate for v in verdicts if not v.passed)
    return Candidate(name, classes[label], step.seed, metrics, missed, version)


def _conclude(
    runner: TrialRunner, entry: StageRun, found: list[Candidate], rivals: list[str], seeds: tuple[int, ...]
) -> Result:
    _log(entry, found)
    chosen = [c for c in found if c.settings == CHOSEN]
    passed = not any(c.missed for c in chosen)
    missed = sorted({gate for c in chosen for gate in c.missed})
    first, champion = chosen[0].version, None
    if passed and first is not None:
        previous = log.alias_map(runner.ctx.client, names.GENERATORS).get(names.CHAMPION_ALIAS)
        champion = gates.promote(
            runner.ctx.client, first, previous, gates.judge_version(first, chosen[0].metrics)
        )
        verdict = f"version {champion} is the champion"
        if champion != first.number:
            verdict = f"{first.uri} passes, but another change made version {champion} the champion meanwhile"
    else:
        verdict = f"the chosen settings are not promoted; they fail: {', '.join(missed)}"
    document = {
        "seeds": list(seeds),
        "summary": {name: summary(found, name) for name in rivals},
        "missed": missed,
        "champion": champion and names.version_uri(names.GENERATORS, champion),
    }
    return Result(document, f"{_table(found, rivals)}\n\n{verdict}", passed)


def summary(found: list[Candidate], name: str) -> dict[str, float]:
    """Means over classes and seeds, and the number of candidates that pass every gate."""
    mine = [c for c in found if c.settings == name]
    means = {key: float(np.mean([c.metrics.get(key, np.nan) for c in mine])) for key in COLUMNS.values()}
    return means | {"passed": float(sum(not c.missed for c in mine)), "count": float(len(mine))}


def _table(found: list[Candidate], rivals: list[str]) -> str:
    rows = []
    for name in rivals:
        s = summary(found, name)
        rows.append(
            [name, *(f"{s[key]:.4f}" for key in COLUMNS.values()), f"{s['passed']:.0f} of {s['count']:.0f}"]
        )
    return table(["under fresh seeds", *COLUMNS, "pass"], rows)


def _log(entry: StageRun, found: list[Candidate]) -> None:
    frame = pd.DataFrame(
        [
            {
                "settings": c.settings,
                "class": c.forgotten,
                "seed": c.seed,
                **{heading: c.metrics.get(key, np.nan) for heading, key in COLUMNS.items()},
                "missed": ", ".join(c.missed),
                "version": c.version.uri if c.version else "",
            }
            for c in found
        ]
    )
    entry.table("final", frame)
