"""`evaluate --all-digits`: every class forgotten on its own, under several seeds, in one table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from sa_mlops.config import EvaluateConfig, ForgetConfig, RecipeConfig
from sa_mlops.plots.matrices import class_table
from sa_mlops.registry import gates, names
from sa_mlops.registry.tracking import stoppable
from sa_mlops.registry.version import Version
from sa_mlops.settings import CLASSES
from sa_mlops.stages import forget
from sa_mlops.stages.base import base_for
from sa_mlops.stages.context import Context
from sa_mlops.stages.measure import Judges
from sa_mlops.stages.progress import say
from sa_mlops.stages.result import Result, table
from sa_mlops.stages.runs import StageRun

POOR = 0.9
"""Base accuracy below which a class is called poor: the base itself cannot draw it well."""


@dataclass(frozen=True, slots=True)
class Row:
    """One digit under one seed."""

    seed: int
    digit: int
    version: Version
    metrics: dict[str, float]

    def values(self) -> dict[str, float]:
        """The columns of the table."""
        m = self.metrics
        kept = [d for d in range(CLASSES) if d != self.digit]
        drops = {d: m[f"base.class.{d}.accuracy"] - m[f"class.{d}.accuracy"] for d in kept}
        worst = max(drops, key=drops.__getitem__)
        return {
            "forget.prob": m["forget.prob"],
            "forget.entropy": m["forget.entropy"],
            "forget.pixel_variance": m["forget.pixel_variance"],
            "retain.accuracy": m["retain.accuracy"],
            "base.retain.accuracy": m["base.retain.accuracy"],
            "retain.drop": m["base.retain.accuracy"] - m["retain.accuracy"],
            "worst.drop": drops[worst],
            "worst.digit": worst,
            "worst.base_accuracy": m[f"base.class.{worst}.accuracy"],
            "retain.fid": m["retain.fid"],
            "base.retain.fid": m["base.retain.fid"],
            "fid.rise": m["retain.fid"] / m["base.retain.fid"] - 1,
        }


def run(config: EvaluateConfig) -> Result:
    """Make the missing versions, measure all, and name the targets that are missed."""
    ctx = Context.open(config)
    limits = gates.limits(ctx.dataset.spec.count)
    with stoppable(), ctx.runs.entry("evaluate", config) as entry:
        entry.recorder.tags({names.STAGE: "evaluate", names.STEPS: str(CLASSES * len(config.seeds))})
        rows: list[Row] = []
        for seed in config.seeds:
            here = ctx.reseeded(seed)
            judges = Judges(here)
            shared = {name: getattr(config, name) for name in RecipeConfig.parameters()} | {"seed": seed}
            start = base_for(here, config, judges)
            for digit in range(CLASSES):
                step = ForgetConfig(**shared, classes=config.spec.names((digit,)), harden=config.harden)
                version = forget.obtain_from(here, step, start, judges)
                rows.append(Row(seed, digit, version, judges.ensure(version)))
                _follow(entry, rows[-1], len(rows), CLASSES * len(config.seeds))
        _log(ctx, entry, rows, config.seeds, limits)
        return _result(rows, limits)


def _follow(entry: StageRun, row: Row, done: int, total: int) -> None:
    v = row.values()
    say(
        f"{done}/{total}  seed {row.seed} digit {row.digit}: p {v['forget.prob']:.4f}  H {v['forget.entropy']:.4f}  "
        f"retained {v['retain.accuracy']:.4f} ({-v['retain.drop']:+.4f})"
    )
    entry.recorder.series({"table.done": [(done, entry.now(), float(done))]})


def _log(
    ctx: Context, entry: StageRun, rows: list[Row], seeds: tuple[int, ...], limits: Mapping[str, float]
) -> None:
    frame = pd.DataFrame(
        [{"seed": r.seed, "digit": r.digit, "version": r.version.uri, **r.values()} for r in rows]
    )
    entry.client.log_table(entry.run_id, frame, "tables/digits.json")
    entry.client.log_text(entry.run_id, frame.to_csv(index=False), "tables/digits.csv")
    columns: tuple[tuple[str, float, Literal["low", "high"]], ...] = (
        ("forget.prob", limits["forget_prob"], "low"),
        ("forget.entropy", limits["forget_entropy"], "high"),
        ("retain.drop", limits["retain_accuracy_drop"], "low"),
        ("worst.drop", limits["retain_class_drop"], "low"),
        ("fid.rise", limits["retain_fid_rise"], "low"),
    )
    for column, limit, better in columns:
        values = frame.pivot_table(index="digit", columns="seed", values=column)[list(seeds)].to_numpy(
            dtype=np.float32
        )
        figure = class_table(
            values, name=column, classes=ctx.classes, seeds=seeds, limit=limit, better=better
        )
        entry.figure(figure, f"figures/digits_{column.replace('.', '_')}.png")
        entry.recorder.metrics(
            {f"table.{column}.max": float(values.max()), f"table.{column}.min": float(values.min())}
        )


def _result(rows: list[Row], limits: Mapping[str, float]) -> Result:
    lines, documents, missed = [], [], []
    for r in rows:
        v = r.values()
        failed = [g.gate for g in gates.judge_version(r.version, r.metrics) if not g.passed]
        missed += [(r, gate) for gate in failed]
        poor = v["worst.base_accuracy"] < POOR
        lines.append(
            [
                f"seed {r.seed} digit {r.digit}",
                f"{v['forget.prob']:.4f}",
                f"{v['forget.entropy']:.4f}",
                f"{v['retain.accuracy']:.4f}",
                f"{-v['retain.drop']:+.4f}",
                f"{-v['worst.drop']:+.4f} ({int(v['worst.digit'])}{', poor in base' if poor else ''})",
                f"{v['fid.rise']:+.1%}",
                ", ".join(failed) or "-",
            ]
        )
        documents.append({"seed": r.seed, "digit": r.digit, "version": r.version.uri, **v, "missed": failed})
    header = ["", "p", "H", "retained", "vs base", "worst class vs base", "FID vs base", "missed"]
    summary = f"{len(rows) - len({(r.seed, r.digit) for r, _ in missed})} of {len(rows)} meet every target"
    document = {"rows": documents, "limits": dict(limits), "missed": len(missed)}
    return Result(document, table(header, lines) + f"\n\n{summary}")
