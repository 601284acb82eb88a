"""`judge`: train the classifiers that measure, check their calibration, and register them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from sa_mlops.config import JudgeConfig
from sa_mlops.core.judging import CONTRASTS, FADES, Control, JudgeCheck, check_judge
from sa_mlops.core.training import judge_steps, train_judge
from sa_mlops.models.classifiers import Judge
from sa_mlops.plots.judging import control_answers, faded_images, reliability_diagram
from sa_mlops.registry import names, versions, weights
from sa_mlops.registry.tracking import run_metrics
from sa_mlops.registry.version import Version
from sa_mlops.settings import JUDGES
from sa_mlops.stages.context import Context
from sa_mlops.stages.make import Key, Made, make, spelled
from sa_mlops.stages.progress import Progress, say
from sa_mlops.stages.result import Result, table
from sa_mlops.stages.runs import StageRun

MEASURING = ("calibrated", "plain")
"""The roles that measure; the other judges attack or train."""
CONTROLS = ("grey", "noise", "gaussian", "shuffled", "colour", "grey_noise")
"""Images of no class; a calibrated judge is uncertain about them. The last two are for colour images only."""
FADED_VIEWS = ("as_is", "either_view")
"""Ends of the metrics `faded.FADE.*`."""
EFFORTS = (1, 2, 4)
"""Efforts with which the calibrated judge is trained, one after the other, until it may measure."""


def key(ctx: Context, role: str) -> Key:
    """The judge of a role."""
    settings = JUDGES[role]
    return Key(
        name=names.JUDGES,
        stage="judge",
        code="judge",
        title=f"judge {role}",
        settings=settings,
        tags={names.ROLE: role},
        params={"role": role, **spelled(ctx, settings)},
        steps=judge_steps(settings, len(ctx.dataset.train_images)),
    )


def obtain(ctx: Context, role: str) -> Version:
    """The judge of a role for this data and seed: from the registry, or trained now."""
    wanted = key(ctx, role)

    def train(run: StageRun) -> Made:
        data, settings = ctx.dataset, JUDGES[role]
        done, seconds = 0, 0.0
        for effort in EFFORTS if role == "calibrated" else EFFORTS[:1]:
            again = () if effort == 1 else (effort,)
            generator = ctx.generator("judge", role, settings.seed_offset, *again)
            steps = effort * wanted.steps
            with Progress(wanted.title, steps, run.recorder, before=done) as progress:
                judge = train_judge(
                    data.train_images, data.train_labels, data.spec, settings, generator, effort=effort,
                    report=progress,
                )  # fmt: skip
            done, seconds = done + steps, seconds + progress.seconds
            check = check_judge(judge, data.test_images, data.test_labels)
            if role != "calibrated" or not check.failures:
                break
            more = "" if effort == EFFORTS[-1] else f"; trained again with {2 * effort} times the effort"
            say(f"{wanted.title}: {'; '.join(check.failures)}{more}")
        _draw(run, check, ctx.classes)
        return Made(
            content=lambda folder: weights.save_judge(folder, judge),
            metrics={"time.judge": seconds, "judge.effort": float(effort), **_metrics(check)},
            description=_description(role, check),
        )

    return make(ctx, wanted, train)


def load(ctx: Context, version: Version) -> Judge:
    """The classifier of a version, on the command's device."""
    return weights.load_judge(versions.net(version), ctx.device)


def controls_text(controls: Mapping[str, Mapping[str, float]]) -> str:
    """The answers of each judge to images of no class, as a table; `controls` are metrics by role."""
    shown = answered(controls)
    rows = [
        [role, *(f"{m[f'control.{c}.entropy']:.3f} / {m[f'control.{c}.max_prob']:.3f}" for c in shown)]
        for role, m in controls.items()
    ]
    return table(["judge's answer (mean entropy / largest p)", *(c.replace("_", " ") for c in shown)], rows)


def answered(controls: Mapping[str, Mapping[str, float]]) -> tuple[str, ...]:
    """The controls that every judge was shown; `controls` are metrics by role."""
    return tuple(c for c in CONTROLS if all(f"control.{c}.entropy" in m for m in controls.values()))


def faded_figure(metrics: Mapping[str, float]) -> Figure | None:
    """The curve of real images faded, from the metrics of a judge; None if an older one has none."""
    keys = [f"faded.{fade}" for fade in FADES[: len(CONTRASTS)]]
    if any(f"{key}.{view}" not in metrics for key in keys for view in FADED_VIEWS):
        return None
    as_is, either = (
        np.array([metrics[f"{key}.{view}"] for key in keys], dtype=np.float32) for view in FADED_VIEWS
    )
    return faded_images(CONTRASTS, as_is, either)


def run(config: JudgeConfig) -> Result:
    """Train or reuse both measuring judges, and show how accurate and how calibrated they are."""
    ctx = Context.open(config)
    with ctx.runs.entry("judges", config):
        found = {role: obtain(ctx, role) for role in MEASURING}
    metrics = {role: run_metrics(ctx.client, v.run_id) for role, v in found.items()}
    shown = ("judge.accuracy", "judge.ece")
    rows = [
        [v.title, *(f"{metrics[role].get(key, np.nan):.4f}" for key in shown)] for role, v in found.items()
    ]
    document = {
        "judges": [{"version": v.uri, "role": role, "metrics": metrics[role]} for role, v in found.items()]
    }
    text = f"{table(['judge', 'test accuracy', 'ECE'], rows)}\n\n{controls_text(metrics)}"
    return Result(document, text)


def _metrics(check: JudgeCheck) -> dict[str, float]:
    out = {"judge.accuracy": check.accuracy, "judge.ece": check.reliability.ece}
    for c in check.controls:
        out |= {f"control.{c.name}.entropy": c.entropy, f"control.{c.name}.max_prob": c.max_probability}
    for fade, f in check.faded.items():
        out |= {
            f"faded.{fade}.{view}": share
            for view, share in zip(FADED_VIEWS, (f.as_is, f.either), strict=True)
        }
    return out


def _draw(run: StageRun, check: JudgeCheck, classes: tuple[str, ...]) -> None:
    r = check.reliability
    run.figure(
        reliability_diagram(r.confidence.numpy(), r.accuracy.numpy(), r.count.numpy(), ece=r.ece),
        "figures/reliability.png",
    )
    run.figure(
        control_answers(
            np.array([c.answer for c in check.controls]),
            names=[c.name for c in check.controls],
            classes=classes,
        ),
        "figures/controls.png",
    )
    if (faded := faded_figure(_metrics(check))) is not None:
        run.figure(faded, "figures/faded.png")


def _description(role: str, check: JudgeCheck) -> str:
    def line(c: Control) -> str:
        return f"| {c.name} | {c.samples} | {c.entropy:.4f} | {c.max_probability:.3f} |"

    if role != "calibrated":
        verdict = "Used for the paper's protocol; its answers to images of no class mean nothing."
    elif check.failures:
        verdict = "It must not measure: " + "; ".join(check.failures) + "."
    else:
        verdict = "It may measure."
    return "\n".join(
        [
            f"**{role} judge**: {check.accuracy:.2%} of the test images, ECE {check.reliability.ece:.4f}. {verdict}",
            "",
            "| images of no class | count | mean entropy (nats) | largest probability |",
            "|---|---|---|---|",
            *map(line, check.controls),
            "",
            "Figures of the run: `figures/controls.png`, `figures/reliability.png`.",
        ]
    )
