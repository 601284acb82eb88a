"""Measuring generators: the judges of a command, what they find in a generator, and its base beside it."""

from __future__ import annotations

import functools
import hashlib
import json
import time
from collections.abc import Mapping

from sa_mlops.core import measuring
from sa_mlops.core.canaries import REMEMBERED, REPEATS
from sa_mlops.core.measuring import Drawn, Evaluation, Evaluator
from sa_mlops.core.screen import SHARES, screen
from sa_mlops.models.interface import CVAE
from sa_mlops.registry import lineage, names
from sa_mlops.registry.names import BASE_PREFIX
from sa_mlops.registry.tracking import Recorder, run_metrics
from sa_mlops.registry.version import Version
from sa_mlops.stages import judge
from sa_mlops.stages.context import Context
from sa_mlops.stages.judge import MEASURING, controls_text
from sa_mlops.stages.progress import bar, say
from sa_mlops.stages.result import Result, table

REVISION = 3
"""Raise when measuring changes: registered versions are then measured again."""


class Judges:
    """The two judges that measure: obtained, loaded and checked at first use.

    Parameters
    ----------
    ctx : its seed and data are those of the judges, latents and resamples.
    pair : the calibrated and the plain judge, if they are given.
    """

    def __init__(self, ctx: Context, pair: tuple[Version, Version] | None = None) -> None:
        self.ctx, self._pair = ctx, pair
        self._drawn: dict[str, Drawn] = {}

    @functools.cached_property
    def pair(self) -> tuple[Version, Version]:
        """The calibrated and the plain judge's versions."""
        if self._pair is not None:
            return self._pair
        calibrated, plain = (judge.obtain(self.ctx, role) for role in MEASURING)
        return calibrated, plain

    @functools.cached_property
    def evaluator(self) -> Evaluator:
        """Both judges, loaded.

        Raises JudgeError if the calibrated one fails its check.
        """
        calibrated, plain = (judge.load(self.ctx, version) for version in self.pair)
        evaluator = Evaluator(calibrated, plain, self.ctx.dataset, self.ctx.seed)
        evaluator.controls()
        return evaluator

    def ready(self) -> None:
        """Obtain and check both judges now, before a run opens that needs them."""
        _ = self.evaluator

    def tags(self) -> dict[str, str]:
        """The tags of a measured version."""
        calibrated, plain = (version.uri for version in self.pair)
        sizes = [REVISION, measuring.SAMPLES, measuring.MANIFOLD_SAMPLES, measuring.MEMBERSHIP_SAMPLES]
        text = json.dumps([sizes, SHARES, calibrated, plain])
        return {
            names.JUDGE: calibrated,
            names.JUDGE_PLAIN: plain,
            names.EVALUATION: hashlib.sha256(text.encode()).hexdigest()[:12],
        }

    def measure(self, model: CVAE, forgotten: tuple[int, ...]) -> Evaluation:
        """Measure a net with these classes as the forgotten ones."""
        return self.evaluator.score(self._draw(model, "measuring"), forgotten)

    def _draw(self, model: CVAE, title: str) -> Drawn:
        evaluator = self.evaluator
        with bar(title, model.classes, "class") as report:
            return evaluator.draw(model, report)

    def beside_base(self, model: CVAE, base: Version, forgotten: tuple[int, ...]) -> dict[str, float]:
        """The measures of a net's base at the same latents, as `base.METRIC`, and the net's quick screen against it.

        The base is sampled once. A net with other tensors than its base's is not screened.
        """
        if base.uri not in self._drawn:
            self._drawn[base.uri] = self._draw(self.ctx.load(base), f"measuring {base.title}")
        found = self.evaluator.score(self._drawn[base.uri], forgotten)
        metrics = {BASE_PREFIX + k: v for k, v in found.metrics().items()}
        start, generator = self._drawn[base.uri].model, self.ctx.generator("screen")
        if (model.net, model.z_dim) == (start.net, start.z_dim):
            began = time.monotonic()
            metrics["screen.prob"] = screen(model, start, self.evaluator.calibrated, forgotten, generator)
            metrics["time.screen"] = time.monotonic() - began
        return metrics

    def ensure(self, version: Version) -> dict[str, float]:
        """The metrics of a version under these judges: read from its run, or measured now and recorded there."""
        client, tags = self.ctx.client, self.tags()
        known = run_metrics(client, version.run_id)
        if version.tags.get(names.EVALUATION) == tags[names.EVALUATION] and "retain.accuracy" in known:
            return known
        say(f"{version.title}: measuring")
        model = self.ctx.load(version)
        metrics = self.measure(model, version.forgotten_indices).metrics()
        root = lineage.base_of(client, version)
        if root is not None and root.uri != version.uri:
            metrics |= self.beside_base(model, root, version.forgotten_indices)
        elif version.stage == "base":
            metrics["base.test_nelbo"] = metrics["test_nelbo"]
        Recorder(client, version.run_id).metrics(metrics, model_id=version.model_id)
        for key, value in tags.items():
            client.set_model_version_tag(version.name, str(version.number), key, value)
        return known | metrics

    def controls(self) -> dict[str, dict[str, float]]:
        """Role -> the recorded answers of that judge to images of no class."""
        return {
            role: {
                k: v for k, v in run_metrics(self.ctx.client, v.run_id).items() if k.startswith("control.")
            }
            for role, v in zip(MEASURING, self.pair, strict=True)
        }

    def result(self, version: Version) -> Result:
        """The output of a stage that ends in a generator: its metrics beside its base's, and the judges' controls."""
        metrics, controls = self.ensure(version), self.controls()
        document = {
            "version": version.uri,
            "stage": version.stage,
            "forgotten": list(version.forgotten),
            "tags": dict(version.tags),
            "metrics": names.results(metrics),
            "controls": controls,
        }
        parts = (
            f"{version.uri}: {version.title}",
            before_after(metrics, version.title),
            controls_text(controls),
        )
        return Result(document, "\n\n".join(parts))


MEMBERSHIP = "forget.membership_auc"
ROWS = (
    ("forget.prob", "probability of the forgotten", "{:.4f}"),
    ("forget.prob_autolevels", "the same with automatic levels", "{:.4f}"),
    ("screen.prob", "the same after the quick screen", "{:.4f}"),
    ("forget.entropy", "entropy, nats (at most ln K)", "{:.4f}"),
    ("forget.accuracy", "accuracy on the forgotten", "{:.4f}"),
    ("forget.prob_plain", "probability, plain judge", "{:.4f}"),
    ("forget.entropy_plain", "entropy, plain judge", "{:.4f}"),
    ("forget.pixel_variance", "pixel variance", "{:.5f}"),
    (MEMBERSHIP, "membership AUC (0.5: no leak)", "{:.4f}"),
    ("canary.100.auc", "the same of images planted 100 times", "{:.4f}"),
    ("forget.nearest_real", "distance to the nearest real image", "{:.3f}"),
    ("retain.accuracy", "accuracy on the retained", "{:.4f}"),
    ("retain.accuracy_min", "worst retained class", "{:.4f}"),
    ("retain.fid", "FID of the retained", "{:.3f}"),
    ("retain.precision", "precision of the retained", "{:.4f}"),
    ("retain.recall", "recall of the retained", "{:.4f}"),
    ("test_nelbo", "test nELBO, nats", "{:.2f}"),
    ("retain.nelbo", "nELBO of retained test images", "{:.2f}"),
)
"""Metric, its words and its spelling in tables of results."""


def headline(metrics: Mapping[str, float]) -> list[tuple[str, str, str]]:
    """The rows of `ROWS` that were measured; the membership AUC only beside a base that remembers its canaries."""
    control = max(metrics.get(f"{BASE_PREFIX}canary.{times}.auc", 0.0) for times in REPEATS)
    return [row for row in ROWS if row[0] in metrics and (row[0] != MEMBERSHIP or control >= REMEMBERED)]


def before_after(metrics: Mapping[str, float], title: str) -> str:
    """The metrics of a version beside those of its base, as a table; a base has one column."""
    compared = f"{BASE_PREFIX}retain.accuracy" in metrics
    rows = []
    for key, words, spell in headline(metrics):
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
