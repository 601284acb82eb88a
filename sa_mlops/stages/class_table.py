"""`evaluate --all-classes`: every class forgotten on its own, under several seeds, in one table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sa_mlops.config import EvaluateConfig, ForgetConfig, RecipeConfig
from sa_mlops.plots.matrices import class_table
from sa_mlops.registry import gates, names
from sa_mlops.registry.names import class_metric
from sa_mlops.registry.version import Version
from sa_mlops.stages import forget
from sa_mlops.stages.base import base_for
from sa_mlops.stages.context import Context
from sa_mlops.stages.measure import Judges
from sa_mlops.stages.progress import say
from sa_mlops.stages.result import Result, table
from sa_mlops.stages.runs import StageRun

GATED = {
    "forget.prob": "forget_prob",
    "forget.entropy": "forget_entropy",
    "retain.drop": "retain_accuracy_drop",
    "worst.drop": "retain_class_drop",
    "fid.rise": "retain_fid_rise",
}
"""Column -> the gate whose limit its figure shows."""
SHOWN = (
    "forget.prob", "forget.entropy", "forget.pixel_variance", "retain.accuracy", "base.retain.accuracy",
)  # fmt: skip
"""Metrics that are columns of the table."""
POOR = 0.9
"""Base accuracy below which a class is called poor: the base itself cannot draw it well."""


@dataclass(frozen=True, slots=True)
class Row:
    """One class under one seed."""

    seed: int
    name: str
    version: Version
    metrics: dict[str, float]

    def values(self) -> dict[str, Any]:
        """The columns of the table."""
        m = self.metrics
        measured = {
            c: (m[class_metric(c, "accuracy", base=True)], m[class_metric(c, "accuracy")])
            for c in self.version.classes
            if c != self.name
        }
        worst = max(measured, key=lambda c: measured[c][0] - measured[c][1])
        before, after = measured[worst]
        fid, base_fid = (
            m.get(key, np.nan) for key in ("retain.fid", "base.retain.fid")
        )  # missing with few images
        return {
            "seed": self.seed,
            "class": self.name,
            "version": self.version.uri,
            **{key: m[key] for key in SHOWN},
            "retain.drop": m["base.retain.accuracy"] - m["retain.accuracy"],
            "worst.drop": before - after,
            "worst.class": worst,
            "worst.base_accuracy": before,
            "retain.fid": fid,
            "base.retain.fid": base_fid,
            "fid.rise": fid / base_fid - 1,
        }


def run(config: EvaluateConfig) -> Result:
    """Make the missing versions, measure all, and name the targets that are missed."""
    ctx = Context.open(config)
    total = len(ctx.classes) * len(config.seeds)
    with ctx.runs.entry("evaluate", config) as entry:
        entry.recorder.tags({names.STAGE: "evaluate", names.STEPS: str(total)})
        rows: list[Row] = []
        for seed in config.seeds:
            here = ctx.reseeded(seed)
            judges = Judges(here)
            shared = {name: getattr(config, name) for name in RecipeConfig.parameters()} | {"seed": seed}
            start = base_for(here, config, judges)
            for name in ctx.classes:
                step = ForgetConfig(**shared, classes=(name,), harden=config.harden)
                version = forget.obtain_from(here, step, start, judges)
                rows.append(Row(seed, name, version, judges.ensure(version)))
                _follow(entry, rows[-1], len(rows), total)
        _log(entry, rows, ctx.classes, config.seeds)
        return _result(rows)


def _follow(entry: StageRun, row: Row, done: int, total: int) -> None:
    v = row.values()
    say(
        f"{done}/{total}  seed {row.seed} class {row.name}: p {v['forget.prob']:.4f}  H {v['forget.entropy']:.4f}  "
        f"retained {v['retain.accuracy']:.4f} ({-v['retain.drop']:+.4f})"
    )
    entry.recorder.series({"table.done": [(done, entry.now(), float(done))]})


def _log(entry: StageRun, rows: list[Row], classes: tuple[str, ...], seeds: tuple[int, ...]) -> None:
    frame = pd.DataFrame([row.values() for row in rows])
    entry.table("classes", frame)
    limits = gates.limits(len(classes))
    for column, gate in GATED.items():
        limit, better = limits[gate], gates.GATES[gate].better
        wide = frame.pivot_table(index="class", columns="seed", values=column)
        if wide.empty:
            continue  # not measured with so few images
        values = wide.loc[list(classes), list(seeds)].to_numpy(dtype=np.float32)
        figure = class_table(values, name=column, classes=classes, seeds=seeds, limit=limit, better=better)
        entry.figure(figure, f"figures/classes_{column.replace('.', '_')}.png")
        extremes = {"max": values.max(), "min": values.min()}
        entry.recorder.metrics({f"table.{column}.{k}": float(v) for k, v in extremes.items()})


def _result(rows: list[Row]) -> Result:
    lines, documents = [], []
    for r in rows:
        v = r.values()
        failed = [g.gate for g in gates.judge_version(r.version, r.metrics) if not g.passed]
        poor = ", poor in base" if v["worst.base_accuracy"] < POOR else ""
        lines.append(
            [
                f"seed {r.seed} class {r.name}",
                f"{v['forget.prob']:.4f}",
                f"{v['forget.entropy']:.4f}",
                f"{v['retain.accuracy']:.4f}",
                f"{-v['retain.drop']:+.4f}",
                f"{-v['worst.drop']:+.4f} ({v['worst.class']}{poor})",
                f"{v['fid.rise']:+.1%}",
                ", ".join(failed) or "-",
            ]
        )
        documents.append({**v, "missed": failed})
    header = ["", "p", "H", "retained", "vs base", "worst class vs base", "FID vs base", "missed"]
    met = sum(not d["missed"] for d in documents)
    missed = sum(len(d["missed"]) for d in documents)
    document = {"rows": documents, "limits": gates.limits(len(rows[0].version.classes)), "missed": missed}
    return Result(document, f"{table(header, lines)}\n\n{met} of {len(rows)} meet every target")
