"""`judge`: the classifiers that measure, each trained once, checked off the manifold, and registered."""

from __future__ import annotations

import dataclasses
import json

import numpy as np

from sa_mlops.config import JudgeConfig
from sa_mlops.core.judging import Control, JudgeCheck, check_judge
from sa_mlops.core.measuring import Evaluator
from sa_mlops.core.training import judge_steps, train_judge
from sa_mlops.models.classifiers import Judge
from sa_mlops.plots.judging import control_answers, reliability_diagram
from sa_mlops.registry import names, publish, versions, weights
from sa_mlops.registry.tracking import run_metrics, stoppable
from sa_mlops.registry.versions import Version
from sa_mlops.settings import JUDGES, fingerprint, jsonable
from sa_mlops.stages.context import Context, StageRun
from sa_mlops.stages.progress import Progress
from sa_mlops.stages.result import Result, table

MEASURING = ("calibrated", "plain")
"""The roles that measure; the other judges are attackers."""


def known(ctx: Context, role: str) -> Version | None:
    """The judge of a role for this data and seed that is in the registry."""
    return ctx.reusable(names.JUDGES, _tags(role))


def _tags(role: str) -> dict[str, str]:
    return {
        names.STAGE: "judge",
        names.ROLE: role,
        names.CONFIG: fingerprint("judge", JUDGES[role]),
    }


def obtain(ctx: Context, role: str) -> Version:
    """The judge of a role for this data and seed: from the registry, or trained now."""
    settings, tags = JUDGES[role], _tags(role)
    found = known(ctx, role)
    if found is not None:
        ctx.note_reuse("judge", found)
        return found

    with ctx.run("judge", f"judge {role}", {"role": role, **_spelled(settings)}) as run:
        data = ctx.dataset
        steps = judge_steps(settings, len(data.train_images))
        run.recorder.tags({names.STEPS: str(steps)})
        generator = ctx.generator("judge", role, settings.seed_offset)
        with Progress(f"judge {role}", steps, run.recorder) as progress:
            judge = train_judge(data.train_images, data.train_labels, settings, generator, report=progress)
        check = check_judge(judge, data.test_images, data.test_labels)
        _draw(run, check)
        metrics = {"time.judge": progress.seconds, **_metrics(check)}
        run.recorder.metrics(metrics)
        version = publish.publish_files(
            ctx.client,
            run.recorder,
            names.JUDGES,
            lambda folder: weights.save_judge(folder, judge, settings.architecture),
            tags={**tags, names.SETTINGS: json.dumps(jsonable(settings)), **ctx.common_tags()},
            description=_description(role, check),
            metrics=metrics,
            params=_spelled(settings),
        )
    return ctx.note_made(version)


def load(ctx: Context, version: Version) -> Judge:
    """The classifier of a version, on the command's device."""
    return weights.load_judge(versions.files(version), ctx.device)


@dataclasses.dataclass(frozen=True, slots=True)
class Panel:
    """The judges that measure, and what measures with them."""

    calibrated: Version
    plain: Version
    evaluator: Evaluator


def panel(ctx: Context) -> Panel:
    """Both measuring judges, made once a command; the calibrated one is checked again before it is used.

    Raises
    ------
    JudgeError : if it fails.
    """
    known = ctx.memo.get("panel")
    if isinstance(known, Panel):
        return known
    calibrated, plain = (obtain(ctx, role) for role in MEASURING)
    made = seated(ctx, calibrated, plain)
    ctx.memo["panel"] = made
    return made


def seated(ctx: Context, calibrated: Version, plain: Version) -> Panel:
    """Two registered judges as a panel. Raises JudgeError if the calibrated one fails its check."""
    data = ctx.dataset
    evaluator = Evaluator(
        load(ctx, calibrated), load(ctx, plain),
        data.train_images, data.train_labels, data.test_images, data.test_labels, ctx.seed,
    )  # fmt: skip
    evaluator.controls()
    return Panel(calibrated, plain, evaluator)


def run(config: JudgeConfig) -> Result:
    """Train or reuse both measuring judges, and say how far they can be believed."""
    ctx = Context(config)
    with stoppable(), ctx.entry("judges", config):
        found = [obtain(ctx, role) for role in MEASURING]
    metrics = {v.tags[names.ROLE]: run_metrics(ctx.client, v.run_id) for v in found}
    rows = []
    for version in found:
        m = metrics[version.tags[names.ROLE]]
        controls = [
            f"{m.get(f'control.{c}.entropy', np.nan):.3f} / {m.get(f'control.{c}.max_prob', np.nan):.3f}"
            for c in ("grey", "noise", "gaussian")
        ]
        rows.append(
            [
                version.title,
                f"{m.get('judge.accuracy', np.nan):.4f}",
                f"{m.get('judge.ece', np.nan):.4f}",
                *controls,
            ]
        )
    text = table(["judge", "test accuracy", "ECE", "grey: H / max p", "noise", "gaussian"], rows)
    document = {
        "judges": [
            {"version": v.uri, "role": v.tags[names.ROLE], "metrics": metrics[v.tags[names.ROLE]]}
            for v in found
        ]
    }
    return Result(document, text)


def _spelled(settings: object) -> dict[str, str]:
    return {k: str(v) for k, v in jsonable(settings).items()}


def _metrics(check: JudgeCheck) -> dict[str, float]:
    out = {"judge.accuracy": check.accuracy, "judge.ece": check.reliability.ece}
    for c in check.controls:
        out |= {f"control.{c.name}.entropy": c.entropy, f"control.{c.name}.max_prob": c.max_probability}
    return out


def _draw(run: StageRun, check: JudgeCheck) -> None:
    r = check.reliability
    run.figure(
        reliability_diagram(r.confidence.numpy(), r.accuracy.numpy(), r.count.numpy(), ece=r.ece),
        "figures/reliability.png",
    )
    run.figure(
        control_answers(np.array([c.answer for c in check.controls]), names=[c.name for c in check.controls]),
        "figures/controls.png",
    )


def _description(role: str, check: JudgeCheck) -> str:
    def line(c: Control) -> str:
        return f"| {c.name} | {c.samples} | {c.entropy:.4f} | {c.max_probability:.3f} |"

    verdict = (
        "It may measure." if not check.failures else "It must not measure: " + "; ".join(check.failures) + "."
    )
    if role != "calibrated":
        verdict = "It is here for the paper's protocol; off the manifold its answers mean nothing."
    return "\n".join(
        [
            f"**{role} judge**: {check.accuracy:.2%} of the test digits, ECE {check.reliability.ece:.4f}. {verdict}",
            "",
            "| images that are no digits | count | mean entropy (nats) | largest probability |",
            "|---|---|---|---|",
            *map(line, check.controls),
            "",
            "Pictures on the run: `figures/controls.png`, `figures/reliability.png`.",
        ]
    )
