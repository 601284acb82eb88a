"""`probe`: try to recover a forgotten class, with the base and the retrained control under the same attacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sa_mlops.config import ProbeConfig
from sa_mlops.core.metrics.intervals import Interval, difference_interval, wilson_interval
from sa_mlops.core.probes import PROBES, interface
from sa_mlops.core.probes.features import FeatureBudget, LayerReading, probe_features
from sa_mlops.core.probes.interface import Budget, Classifier, ProbeResult, Role, Scene, union
from sa_mlops.core.probes.neighbours import neighbours
from sa_mlops.core.probes.relearning import RelearnBudget, Relearning, relearn
from sa_mlops.errors import CommandError
from sa_mlops.models.interface import CVAE
from sa_mlops.parameters import ParameterError
from sa_mlops.plots.attacks import (
    attack_strips,
    loss_along_paths,
    prediction_histogram,
    relearning,
    success_against_budget,
)
from sa_mlops.plots.curves import Curve
from sa_mlops.plots.grids import Answers
from sa_mlops.registry import lineage, names, versions
from sa_mlops.registry.tracking import Recorder, stoppable
from sa_mlops.registry.version import Version
from sa_mlops.settings import JUDGES
from sa_mlops.stages import judge
from sa_mlops.stages.base import base_for
from sa_mlops.stages.context import Context
from sa_mlops.stages.measure import Judges
from sa_mlops.stages.progress import Progress, say
from sa_mlops.stages.result import Result, table
from sa_mlops.stages.runs import StageRun

ATTACKERS: Mapping[Role, str] = {"calibrated": "attacker_calibrated", "plain": "attacker_plain"}
STRIPS = ("latent_walk", "double_walk", "triangular_walk", "joint", "reconstruction")
FRAMES = 12
"""Images in a row of a strip."""
RELEARN = {
    "10": RelearnBudget(images=10),
    "10.neighbour": RelearnBudget(images=10, label="neighbour"),
    "100": RelearnBudget(images=100),
    "100.neighbour": RelearnBudget(images=100, label="neighbour"),
}
UNION = "union"


@dataclass(frozen=True, slots=True)
class Target:
    """The class to recover.

    Attributes
    ----------
    classes : names of all classes.
    index : of the class to recover.
    near : indices of the two classes that look most like it.
    """

    classes: tuple[str, ...]
    index: int
    near: tuple[int, int]

    @property
    def name(self) -> str:
        """Of the class to recover."""
        return self.classes[self.index]

    def taught(self, case: str) -> str:
        """A case of relearning in words."""
        budget = RELEARN[case]
        label = self.classes[budget.under(self.index, self.near)]
        return f"{budget.images} real images under the label {label}"


@dataclass(frozen=True, slots=True)
class Subject:
    """A generator under attack: its name in tables, its version, its net, and the contrast of its images."""

    name: str
    version: Version
    model: CVAE
    contrast: float

    @property
    def label(self) -> str:
        """Its name with the contrast, where that is raised."""
        return self.name if self.contrast == 1 else f"{self.name} at contrast {self.contrast:g}"


@dataclass(frozen=True, slots=True)
class Score:
    """Successes of a number of attempts."""

    hits: int
    attempts: int

    @property
    def rate(self) -> float:
        """Share of successful attempts."""
        return self.hits / self.attempts

    @property
    def interval(self) -> Interval:
        """95 % interval of the rate."""
        return wilson_interval(self.hits, self.attempts)

    def excess(self, other: Score) -> tuple[float, Interval]:
        """The rate minus another one, with its 95 % interval."""
        interval = difference_interval(self.hits, self.attempts, other.hits, other.attempts)
        return self.rate - other.rate, interval


@dataclass(frozen=True, slots=True)
class Attacked:
    """A subject with the results of all attacks on it."""

    subject: Subject
    results: Mapping[str, ProbeResult]
    relearned: Mapping[str, Relearning]
    readings: tuple[LayerReading, ...]

    def score(self, probe: str) -> Score:
        """The score of one probe, or of `union`: an attempt succeeds if any probe's does."""
        hits = union(list(self.results.values())) if probe == UNION else self.results[probe].success
        return Score(int(hits.sum()), len(hits))


def run(config: ProbeConfig) -> Result:
    """Attack a version, its base, the retrained control and further generators, and compare."""
    ctx = Context.open(config)
    version = ctx.named_generator("version", config.version)
    index = class_to_recover(ctx, version, config)
    chosen = config.chosen(tuple(PROBES))
    others = [ctx.named_generator("beside", word) for word in config.beside.split(",") if word.strip()]
    with stoppable(), ctx.runs.entry("probe", config) as entry:
        entry.recorder.tags({names.STAGE: "probe", "sa.version": version.uri})
        judges = Judges(ctx)
        subjects = _subjects(ctx, config, version, others, judges)
        judges.ready()
        attackers = {role: _classifier(ctx, name) for role, name in ATTACKERS.items()}
        measuring = _classifier(ctx, "calibrated")
        data = ctx.dataset
        near = neighbours(measuring.net, data.test_images, data.test_labels, index)
        target = Target(data.spec.classes, index, near)
        attacked = []
        for subject in subjects:
            entry.recorder.used(subject.version.model_id)
            scene = Scene(
                model=subject.model, base=subjects[0].model, target=index, neighbours=near,
                images=data.test_images, labels=data.test_labels, attackers=attackers,
            )  # fmt: skip
            attacked.append(_attack(ctx, config, subject, scene, target, chosen, measuring))
        _draw(entry, attacked, target, chosen)
        _record(ctx, entry, attacked, chosen)
        return _result(attacked, target, chosen)


def class_to_recover(ctx: Context, version: Version, config: ProbeConfig) -> int:
    """Index of the class that `--target` names, else of the class that was forgotten last.

    Raises ParameterError if the version has not forgotten that class, or none at all.
    """
    if not version.forgotten:
        allowed = f"a generator that has forgotten a class; {version.uri} has not"
        raise ParameterError("version", config.version, allowed)
    index = config.class_index("target")
    if index is None:
        return version.classes.index(lineage.forgotten_last(ctx.client, version) or version.forgotten[-1])
    if index not in version.forgotten_indices:
        allowed = f"a class that {version.uri} has forgotten ({names.spell_classes(version.forgotten)})"
        raise ParameterError("target", str(config.target), allowed)
    return index


def _subjects(
    ctx: Context, config: ProbeConfig, version: Version, others: list[Version], judges: Judges
) -> list[Subject]:
    """Base, version, the others and the retrained control, in this order."""
    root = lineage.base_of(ctx.client, version)
    if root is None:
        raise CommandError(f"{version.uri} has no base in this registry to be compared with")
    named = [("base", root), *((f"v{v.number}", v) for v in (version, *others))]
    named.append(("retrained", _retrained(ctx, config, version, judges)))
    contrast = config.contrast
    subjects = [Subject(name, v, ctx.load(v).raised(contrast), contrast) for name, v in named]
    z_dim = subjects[0].model.z_dim
    for subject in subjects:
        if subject.model.z_dim != z_dim:
            raise ParameterError("beside", subject.version.uri, f"generators with z_dim {z_dim}")
    return subjects


def _retrained(ctx: Context, config: ProbeConfig, version: Version, judges: Judges) -> Version:
    classes = names.spell_classes(version.forgotten)
    keys = {
        names.STAGE: "retrain",
        names.FORGOTTEN: classes,
        names.DATA_MD5: ctx.dataset.md5,
        names.SEED: str(ctx.seed),
    }
    for tags in (keys | {names.NET: version.net}, keys):  # older versions of `mlp` do not name it
        found = versions.find(ctx.client, names.GENERATORS, tags)
        if found is not None and found.net == version.net:
            return found
    if config.no_train:
        raise CommandError(
            f"no generator retrained without {classes} is registered for seed {ctx.seed}; "
            f"make it with `sa-mlops retrain --classes {classes} --seed {ctx.seed}`, or leave --no-train out"
        )
    z_dim = ctx.load(version).z_dim
    return base_for(ctx, config, judges, without=version.forgotten_indices, z_dim=z_dim, net=version.net)


def _classifier(ctx: Context, role: str) -> Classifier:
    net = judge.load(ctx, judge.obtain(ctx, role))
    return Classifier(net=net, seed=ctx.seed + JUDGES[role].seed_offset)


def _attack(
    ctx: Context,
    config: ProbeConfig,
    subject: Subject,
    scene: Scene,
    target: Target,
    chosen: Sequence[str],
    measuring: Classifier,
) -> Attacked:
    """All attacks on one subject, in a run of its own; seeds and budgets are equal for all subjects."""
    params = {
        "version": subject.version.uri, "class": target.name, "attempts": str(config.attempts),
        "contrast": str(subject.contrast),
    }  # fmt: skip
    with ctx.runs.run("probe subject", f"probe {subject.label}", params) as run:
        run.recorder.used(subject.version.model_id)
        results: dict[str, ProbeResult] = {}
        for name in chosen:
            probe = PROBES[name]
            budget = Budget(attempts=config.attempts, steps=probe.budget.steps, lr=probe.budget.lr)
            with Progress(f"{subject.label}: {name}", max(budget.steps, 1)) as progress:
                watched = replace(scene, report=progress)
                result = interface.run(probe, watched, measuring, ctx.generator("probe", name), budget=budget)
            results[name] = result
            say(f"{subject.label}: {name} {result.rate:.3f} in {progress.seconds:.1f} s")
            run.recorder.metrics(_probe_metrics(name, result) | {f"time.probe.{name}": progress.seconds})
        relearned: dict[str, Relearning] = {}
        readings: tuple[LayerReading, ...] = ()
        if config.relearn and subject.contrast == 1:
            data = ctx.dataset
            training = replace(scene, images=data.train_images, labels=data.train_labels)
            available = int((data.train_labels == target.index).sum())
            for case, teaching in RELEARN.items():
                few = replace(teaching, images=min(teaching.images, available))
                relearned[case] = relearn(training, measuring, few, ctx.generator("relearn", teaching.images))
                run.recorder.metrics(_relearn_metrics(case, relearned[case]))
            readings = probe_features(training, FeatureBudget(), ctx.generator("features"))
            run.recorder.metrics({f"features.layer{r.layer}.area": r.area for r in readings})
        attacked = Attacked(subject, results, relearned, readings)
        run.recorder.metrics({f"attack.{UNION}.success": attacked.score(UNION).rate})
        for name in STRIPS:
            if name in results:
                run.figure(_strips(name, results[name], target, subject.label), f"figures/{name}.png")
    return attacked


def _probe_metrics(name: str, result: ProbeResult) -> dict[str, float]:
    interval = wilson_interval(int(result.success.sum()), len(result.success))
    values = {
        "success": result.rate,
        "success_as_is": float(result.success_as_is.double().mean()),
        "success_autolevels": float(result.success_autolevels.double().mean()),
        "success.low": interval.low,
        "success.high": interval.high,
        "z_norm": float(result.z_norm.mean()),
        "condition_mass": float(result.condition_mass.mean()),
        "condition_weight": float(result.condition_weight.mean()),
    }
    if result.pixel_error is not None:
        values["mse"] = float(result.pixel_error.mean())
    return {f"attack.{name}.{key}": value for key, value in values.items()}


def _relearn_metrics(case: str, found: Relearning) -> dict[str, float]:
    until = found.steps_until(0.5)
    values = {f"relearn.{case}.accepted": float(found.accepted[-1])}
    return values | ({} if until is None else {f"relearn.{case}.steps_until_half": float(until)})


def _array(tensor: torch.Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.detach().cpu().numpy()
    return array


def _strips(name: str, result: ProbeResult, target: Target, subject: str) -> Figure:
    keep = np.unique(np.linspace(0, len(result.positions) - 1, FRAMES).round().astype(int))
    images = _array(result.strips).swapaxes(0, 1)[:6, keep]
    answers = _array(result.strip_answers).swapaxes(0, 1)[:6, keep]
    return attack_strips(
        images,
        Answers(answers.argmax(axis=2), answers.max(axis=2)),
        title=f"{name} on {subject}: {result.rate:.0%} of the attempts end as class {target.name}",
        classes=target.classes,
        target=target.index,
        rows=[str(i + 1) for i in range(len(images))],
        columns=[f"{result.positions[i]:g}" for i in keep],
    )


def _draw(entry: StageRun, attacked: Sequence[Attacked], target: Target, chosen: Sequence[str]) -> None:
    labels = [a.subject.label for a in attacked]
    for name in chosen:
        results = [a.results[name] for a in attacked]
        counts = np.stack(
            [torch.bincount(r.choice, minlength=len(target.classes)).cpu().numpy() for r in results]
        )
        histogram = prediction_histogram(counts, models=labels, classes=target.classes, target=target.index)
        entry.figure(histogram, f"figures/predictions_{name}.png")
        pairs = list(zip(labels, results, strict=True))
        if len(results[0].positions) > 2 and len(results[0].loss):
            # The axis is logarithmic; the start is drawn at half a step.
            curves = [
                Curve(
                    label,
                    np.maximum(np.array(r.positions, dtype=np.float32), 0.5),
                    np.array(r.curve, dtype=np.float32),
                )
                for label, r in pairs
            ]
            title = f"{name}: attempts that the independent judge accepts as class {target.name}"
            entry.figure(success_against_budget(curves, title=title), f"figures/budget_{name}.png")
        if len(results[0].loss) and results[0].pixel_error is None:
            curves = [
                Curve(label, np.arange(len(r.loss), dtype=np.float32), _array(r.loss)) for label, r in pairs
            ]
            title = f"{name}: loss of the attack, mean of the attempts"
            entry.figure(loss_along_paths(curves, title=title), f"figures/loss_{name}.png")
    for case in attacked[0].relearned:
        found = [(a.subject.name, a.relearned[case]) for a in attacked]
        curves = [
            Curve(name, np.array(r.positions, dtype=np.float32), _array(r.accepted)) for name, r in found
        ]
        title = f"Relearning class {target.name} from {target.taught(case)}"
        entry.figure(relearning(curves, title=title), f"figures/relearning_{case.replace('.', '_')}.png")


def _record(ctx: Context, entry: StageRun, attacked: Sequence[Attacked], chosen: Sequence[str]) -> None:
    """Log success and excess over the retrained control with every attacked version, the probed one's on the entry.

    With raised contrast on the entry only: versions are compared and promoted by the images that they draw.
    """
    control = attacked[-1]
    for a in attacked:
        values: dict[str, float] = {}
        for name in (*chosen, UNION):
            excess, interval = a.score(name).excess(control.score(name))
            values |= {
                f"attack.{name}.success": a.score(name).rate,
                f"attack.{name}.excess": excess,
                f"attack.{name}.excess.low": interval.low,
                f"attack.{name}.excess.high": interval.high,
            }
        if a.subject.contrast == 1:
            recorder = Recorder(ctx.client, a.subject.version.run_id)
            recorder.metrics(values, model_id=a.subject.version.model_id)
        if a is attacked[1]:
            entry.recorder.metrics(values)


def _result(attacked: Sequence[Attacked], target: Target, chosen: Sequence[str]) -> Result:
    probed, control = attacked[1], attacked[-1]
    subjects = [a.subject.name for a in attacked]
    rows, documents = [], []
    for name in (*chosen, UNION):
        scores = [a.score(name) for a in attacked]
        excess, interval = probed.score(name).excess(control.score(name))
        cells = [f"{s.rate:.3f} {_spell(s.interval)}" for s in scores]
        rows.append([name, *cells, f"{excess:+.3f} {_spell(interval)}"])
        entries = {a.subject.name: _entry(a, name) for a in attacked}
        documents.append({"probe": name, "subjects": entries, "excess": excess})
    header = [f"attack on {target.name}", *(a.subject.label for a in attacked)]
    texts = [table([*header, f"excess of {probed.subject.name}"], rows)]
    if cases := list(probed.relearned):
        rows = [
            [target.taught(case), *(f"{float(a.relearned[case].accepted[-1]):.3f}" for a in attacked)]
            for case in cases
        ]
        texts.append(table(["accepted after relearning from", *subjects], rows))
    if probed.readings:
        layers = zip(*(a.readings for a in attacked), strict=True)
        rows = [[f"layer {r[0].layer}", *(f"{x.area:.3f}" for x in r)] for r in layers]
        texts.append(table(["linear reading of the class, AUC", *subjects], rows))
    document = {
        "class": target.name,
        "contrast": probed.subject.contrast,
        "probes": documents,
        "relearning": {
            case: {
                a.subject.name: {
                    "steps": list(a.relearned[case].positions),
                    "accepted": a.relearned[case].accepted.tolist(),
                    "probability": a.relearned[case].probability.tolist(),
                }
                for a in attacked
            }
            for case in cases
        },
        "features": {a.subject.name: [r.area for r in a.readings] for a in attacked},
    }
    return Result(document, "\n\n".join(texts))


def _entry(attacked: Attacked, probe: str) -> dict[str, float | int | str]:
    """A subject's part of the document of a probe."""
    score = attacked.score(probe)
    entry: dict[str, float | int | str] = {
        "success": score.rate, "low": score.interval.low, "high": score.interval.high, "attempts": score.attempts,
        "version": attacked.subject.version.uri,
    }  # fmt: skip
    if probe != UNION and (error := attacked.results[probe].pixel_error) is not None:
        entry["mse"] = float(error.mean())
    return entry


def _spell(interval: Interval) -> str:
    return f"[{interval.low:.2f}, {interval.high:.2f}]"
