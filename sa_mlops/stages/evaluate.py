"""`evaluate`: measure a registered generator, and put the base beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sa_mlops.config import EvaluateConfig
from sa_mlops.core import measuring as evaluation
from sa_mlops.core.measuring import Evaluation
from sa_mlops.models.mlp import CVAE
from sa_mlops.parameters import ParameterError
from sa_mlops.registry import names, versions
from sa_mlops.registry.tracking import Recorder, run_metrics, stoppable
from sa_mlops.registry.versions import Version
from sa_mlops.settings import CLASSES, fingerprint
from sa_mlops.stages import judge
from sa_mlops.stages.context import Context
from sa_mlops.stages.progress import say
from sa_mlops.stages.result import Result, table

REVISION = 1
"""Raise when what is measured changes: versions are then measured anew."""
BASE_PREFIX = "base."
CONTROLS = ("grey", "noise", "gaussian")


@dataclass(frozen=True, slots=True)
class Judges:
    """The judges behind a measurement."""

    calibrated: Version
    plain: Version

    def tags(self) -> dict[str, str]:
        """What a measured version's tags say about them."""
        sizes = [REVISION, evaluation.SAMPLES, evaluation.MANIFOLD_SAMPLES, evaluation.MEMBERSHIP_SAMPLES]
        text = json.dumps([sizes, self.calibrated.uri, self.plain.uri])
        return {
            names.JUDGE: self.calibrated.uri,
            names.JUDGE_PLAIN: self.plain.uri,
            names.EVALUATION: hashlib.sha256(text.encode()).hexdigest()[:12],
        }


def judges(ctx: Context) -> Judges:
    """Both measuring judges, made if they are missing."""
    panel = judge.panel(ctx)
    return Judges(panel.calibrated, panel.plain)


def measure(ctx: Context, model: CVAE, forgotten: tuple[int, ...]) -> Evaluation:
    """Measure a net with some classes in the role of the forgotten ones."""
    return judge.panel(ctx).evaluator.evaluate(model, forgotten)


def beside_base(ctx: Context, base: Version, forgotten: tuple[int, ...]) -> dict[str, float]:
    """The same measures of the base at the same latents, as `base.METRIC`; its samples are drawn once a command."""
    evaluator = judge.panel(ctx).evaluator
    drawn = ctx.memo.get(base.uri)
    if not isinstance(drawn, evaluation.Drawn):
        drawn = evaluator.draw(ctx.load(base))
        ctx.memo[base.uri] = drawn
    return {BASE_PREFIX + k: v for k, v in evaluator.score(drawn, forgotten).metrics().items()}


def ensure(ctx: Context, version: Version) -> dict[str, float]:
    """The metrics of a version under the present judges: read from its run, or measured now and written there."""
    tags = judges(ctx).tags()
    known = run_metrics(ctx.client, version.run_id)
    if version.tags.get(names.EVALUATION) == tags[names.EVALUATION] and "retain.accuracy" in known:
        return known
    say(f"{version.title}: measuring")
    model = ctx.load(version)
    metrics = measure(ctx, model, version.forgotten).metrics()
    root = root_of(ctx, version)
    if root is not None and root.uri != version.uri:
        metrics |= beside_base(ctx, root, version.forgotten)
    elif version.stage == "base":
        metrics["base.test_nelbo"] = metrics["test_nelbo"]
    Recorder(ctx.client, version.run_id).metrics(metrics, model_id=version.model_id)
    for key, value in tags.items():
        ctx.client.set_model_version_tag(version.name, str(version.number), key, value)
    return known | metrics


def root_of(ctx: Context, version: Version) -> Version | None:
    """The base that a generator descends from, itself if it is one.

    An oracle has no parent: its base is the one of its recipe, seed and data, else the newest of its seed and data.
    """
    seen = set()
    here = version
    while here.parent is not None and here.number not in seen:
        seen.add(here.number)
        here = versions.get(ctx.client, names.GENERATORS, here.parent)
    if here.stage == "oracle":
        keys = {k: here.tags.get(k, "") for k in (names.DATASET, names.DATA_MD5, names.SEED)}
        keys[names.STAGE] = "base"
        twin = versions.find(ctx.client, names.GENERATORS, {**keys, names.CONFIG: _config_of_base(here)})
        return twin or versions.find(ctx.client, names.GENERATORS, keys)
    return here if here.stage == "base" else None


def _config_of_base(oracle: Version) -> str:
    """The tag `sa.config` of the base that has an oracle's settings, but all classes; empty if they cannot be read."""
    try:
        settings = json.loads(oracle.tags.get(names.SETTINGS, ""))
        return fingerprint("base", settings | {"labels": list(range(CLASSES))})
    except (ValueError, TypeError):
        return ""


ROWS = (
    ("forget.prob", "probability of the forgotten", "{:.4f}"),
    ("forget.entropy", "entropy, nats (at most 2.3026)", "{:.4f}"),
    ("forget.accuracy", "accuracy on the forgotten", "{:.4f}"),
    ("forget.prob_plain", "probability, plain judge", "{:.4f}"),
    ("forget.entropy_plain", "entropy, plain judge", "{:.4f}"),
    ("forget.pixel_variance", "pixel variance", "{:.5f}"),
    ("forget.membership_auc", "membership AUC (0.5: gives nothing away)", "{:.4f}"),
    ("forget.nearest_real", "distance to the nearest real image", "{:.3f}"),
    ("retain.accuracy", "accuracy on the retained", "{:.4f}"),
    ("retain.accuracy_min", "worst retained class", "{:.4f}"),
    ("retain.fid", "FID of the retained", "{:.3f}"),
    ("retain.precision", "precision of the retained", "{:.4f}"),
    ("retain.recall", "recall of the retained", "{:.4f}"),
    ("test_nelbo", "test nELBO, nats", "{:.2f}"),
    ("retain.nelbo", "nELBO of retained test images", "{:.2f}"),
)


def before_after(metrics: Mapping[str, float], title: str) -> str:
    """The metrics of a version beside those of its base, as a table; a base has one column."""
    compared = f"{BASE_PREFIX}retain.accuracy" in metrics
    rows = []
    for key, words, spell in ROWS:
        if key not in metrics:
            continue
        after = metrics[key]
        row = [words]
        if compared:
            before = metrics.get(BASE_PREFIX + key)
            row += ["" if before is None else spell.format(before), spell.format(after)]
            row += ["" if before is None else f"{after - before:+.4f}"]
        else:
            row += [spell.format(after)]
        rows.append(row)
    return table(["metric", "before", "after", "change"] if compared else ["metric", title], rows)


def controls_text(metrics: Mapping[str, Mapping[str, float]]) -> str:
    """What each judge says to images that are no digits, in a table."""
    rows = [
        [
            role,
            *(
                f"{m[f'control.{c}.entropy']:.3f} / {m[f'control.{c}.max_prob']:.3f}"
                for c in ("grey", "noise", "gaussian")
            ),
        ]
        for role, m in metrics.items()
    ]
    return table(["judge's answer (mean entropy / largest p)", *CONTROLS], rows)


def result(ctx: Context, version: Version, extra: Mapping[str, Any] | None = None) -> Result:
    """What a stage that ends in a generator prints: its metrics beside the base's, with the judges' own controls."""
    metrics = ensure(ctx, version)
    pair = judges(ctx)
    controls = {
        role: {k: v for k, v in run_metrics(ctx.client, v.run_id).items() if k.startswith("control.")}
        for role, v in (("calibrated", pair.calibrated), ("plain", pair.plain))
    }
    document = {
        "version": version.uri,
        "stage": version.stage,
        "forgotten": list(version.forgotten),
        "tags": dict(version.tags),
        "metrics": {k: v for k, v in sorted(metrics.items()) if not k.startswith(("train.", "system/"))},
        "controls": controls,
        **(extra or {}),
    }
    text = f"{version.uri}: {version.title}\n\n{before_after(metrics, version.title)}\n\n{controls_text(controls)}"
    return Result(document, text)


def run(config: EvaluateConfig) -> Result:
    """Measure a registered generator, or all ten digits over several seeds."""
    if config.all_digits:
        from sa_mlops.stages import class_table as digit_table

        return digit_table.run(config)
    ctx = Context(config)
    version = ctx.named_generator("version", config.version)
    if len(version.forgotten) >= CLASSES:
        raise ParameterError("version", config.version, "a generator that retains a class")
    with stoppable(), ctx.entry("evaluate", config) as run:
        run.recorder.used(version.model_id)
        run.recorder.tags({names.STAGE: "evaluate", "sa.version": version.uri})
        done = result(ctx, version)
        run.recorder.metrics(done.document["metrics"])
    return done
