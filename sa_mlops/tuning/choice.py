"""The final choice: chosen settings under fresh seeds, beside the default's and the paper's, by the gates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from sa_mlops.config import ForgetConfig
from sa_mlops.methods.interface import StepSettings
from sa_mlops.registry import gates, lineage, names, tracking
from sa_mlops.registry.tracking import Recorder
from sa_mlops.registry.version import Version
from sa_mlops.stages.progress import say
from sa_mlops.stages.result import Result, table
from sa_mlops.stages.runs import StageRun
from sa_mlops.tuning import study as studies
from sa_mlops.tuning.objective import Bench

CHOSEN, DEFAULT, BUDGET, PAPER = "chosen", "default recipe", "default, tight budget", "paper, tight budget"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One setting with one digit forgotten under one fresh seed.

    Attributes
    ----------
    missed : the gates that it fails.
    version : only the chosen settings are registered.
    """

    name: str
    digit: int
    seed: int
    metrics: Mapping[str, float]
    missed: tuple[str, ...]
    version: Version | None


def final(bench: Bench, entry: StageRun, values: Mapping[str, Any]) -> Result:
    """Run the chosen settings under fresh seeds beside the others, and promote them if they pass every gate.

    The default recipe has its own steps here; the default's and the paper's values also run at a trial's budget. If
    all chosen generators pass, the one of the first digit and seed becomes the champion: not the luckiest one.
    """
    config = bench.config
    seeds = fresh_seeds(config.seeds, config.final_seeds)
    rivals: dict[str, Mapping[str, Any]] = {
        CHOSEN: values,
        DEFAULT: {"steps": None},
        BUDGET: studies.default_values(config),
        PAPER: studies.paper_values(config),
    }
    found: dict[tuple[str, StepSettings, int], Candidate] = {}
    for name, settings in rivals.items():
        for digit in config.ordered:
            for seed in seeds:
                step = config.trial(digit, seed, settings)
                resolved = step.resolved(bench.base.forgotten_indices, None)
                same = next((c for (_, s, n), c in found.items() if (s, n) == (resolved, seed)), None)
                if same is not None:
                    candidate = replace(same, name=name, version=None)
                else:
                    candidate = _register(bench, step) if name == CHOSEN else _measure(bench, step, name)
                found[name, resolved, seed] = candidate
                say(_line(candidate))
    return _conclude(bench, entry, list(found.values()), list(rivals), seeds)


def _conclude(
    bench: Bench, entry: StageRun, found: list[Candidate], rivals: list[str], seeds: tuple[int, ...]
) -> Result:
    _log(entry, found)
    chosen = [c for c in found if c.name == CHOSEN]
    passed = not any(c.missed for c in chosen)
    champion = chosen[0].version if passed else None
    if champion is not None:
        previous = lineage.alias_map(bench.ctx.client, names.GENERATORS).get(names.CHAMPION_ALIAS)
        gates.promote(bench.ctx.client, champion, previous)
    missed = sorted({gate for c in chosen for gate in c.missed})
    verdict = (
        f"{champion.uri} is the champion"
        if champion is not None
        else f"the chosen settings are not promoted; they fail: {', '.join(missed)}"
    )
    document = {
        "seeds": list(seeds),
        "summary": {name: summary(found, name) for name in rivals},
        "missed": missed,
        "champion": champion.uri if champion else None,
    }
    return Result(document, f"{_table(found, rivals)}\n\n{verdict}", passed)


def fresh_seeds(used: tuple[int, ...], count: int) -> tuple[int, ...]:
    """The first `count` seeds after the largest used one."""
    return tuple(range(max(used) + 1, max(used) + 1 + count))


def _register(bench: Bench, step: ForgetConfig) -> Candidate:
    version = bench.publish(step)
    metrics = bench.judges.ensure(version)
    return _candidate(bench, CHOSEN, step, metrics, version)


def _measure(bench: Bench, step: ForgetConfig, name: str) -> Candidate:
    """The same measures as a version has, without one: the registry is not for rivals."""
    forgotten = bench.forgotten(step.indices[0])
    with tracking.open_run(
        f"{name}, digit {step.indices[0]}, seed {step.seed}", nested=True, tags={names.STAGE: "rival"}
    ) as run:
        model, seconds = bench.make(step)
        metrics = bench.judges.measure(model, forgotten).metrics() | {"time.forget": seconds}
        metrics |= bench.judges.beside_base(bench.base, forgotten)
        Recorder(bench.ctx.client, run).metrics(metrics)
    return _candidate(bench, name, step, metrics, None)


def _candidate(
    bench: Bench, name: str, step: ForgetConfig, metrics: Mapping[str, float], version: Version | None
) -> Candidate:
    classes = bench.base.classes
    forgotten = [classes[i] for i in bench.forgotten(step.digit)]
    verdicts = gates.judge(classes, forgotten, metrics)
    missed = tuple(v.gate for v in verdicts if not v.passed)
    return Candidate(name, step.indices[0], step.seed, metrics, missed, version)


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


def summary(found: list[Candidate], name: str) -> dict[str, float]:
    """Means over digits and seeds, and how many pass every gate."""
    mine = [c for c in found if c.name == name]
    means = {key: float(np.mean([c.metrics[key] for c in mine])) for key in COLUMNS.values()}
    return means | {"passed": float(sum(not c.missed for c in mine)), "count": float(len(mine))}


def _line(c: Candidate) -> str:
    numbers = "  ".join(f"{heading} {c.metrics[key]:.4f}" for heading, key in COLUMNS.items())
    verdict = "misses " + ", ".join(c.missed) if c.missed else "passes"
    return f"{c.name}, digit {c.digit}, seed {c.seed}: {numbers}  {verdict}"


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
                "settings": c.name,
                "digit": c.digit,
                "seed": c.seed,
                **{heading: c.metrics[key] for heading, key in COLUMNS.items()},
                "missed": ", ".join(c.missed),
                "version": c.version.uri if c.version else "",
            }
            for c in found
        ]
    )
    entry.client.log_table(entry.run_id, frame, "tables/final.json")
    entry.client.log_text(entry.run_id, frame.to_csv(index=False), "tables/final.csv")
