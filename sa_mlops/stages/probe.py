"""`probe`: try to bring a forgotten class back, with the base and an oracle under the same attacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
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
from sa_mlops.settings import CLASSES, JUDGES
from sa_mlops.stages import judge
from sa_mlops.stages.base import base_for
from sa_mlops.stages.context import Context
from sa_mlops.stages.measure import Judges
from sa_mlops.stages.progress import Progress, say
from sa_mlops.stages.result import Result as Outcome
from sa_mlops.stages.result import table
from sa_mlops.stages.runs import StageRun

ATTACKERS: Mapping[Role, str] = {"calibrated": "attacker_calibrated", "plain": "attacker_plain"}
STRIPS = ("latent_walk", "double_walk", "triangular_walk", "joint", "reconstruction")
FRAMES = 12
RELEARN = {
    "10": RelearnBudget(images=10),
    "10.neighbour": RelearnBudget(images=10, label="neighbour"),
    "100": RelearnBudget(images=100),
    "100.neighbour": RelearnBudget(images=100, label="neighbour"),
}
UNION = "union"


@dataclass(frozen=True, slots=True)
class Subject:
    """A generator under attack: what it is called in tables, its version, its net and how much that is raised."""

    name: str
    version: Version
    model: CVAE
    contrast: float

    @property
    def label(self) -> str:
        """What it is called where the contrast is not said elsewhere."""
        return self.name if self.contrast == 1 else f"{self.name} at contrast {self.contrast:g}"


@dataclass(frozen=True, slots=True)
class Attacked:
    """A subject with everything that was tried on it."""

    subject: Subject
    neighbours: tuple[int, int]
    results: Mapping[str, ProbeResult]
    relearned: Mapping[str, Relearning]
    readings: tuple[LayerReading, ...]

    def successes(self, probe: str) -> tuple[int, int]:
        """Successful attempts and attempts of one probe, or of `union`."""
        hits = union(list(self.results.values())) if probe == UNION else self.results[probe].success
        return int(hits.sum()), len(hits)


def run(config: ProbeConfig) -> Outcome:
    """Attack a version, its base, an oracle and whatever else was named, and compare."""
    ctx = Context.open(config)
    version = ctx.named_generator("version", config.version)
    digit = class_to_attack(version, config)
    chosen = config.chosen(tuple(PROBES))
    others = [ctx.named_generator("beside", word) for word in config.beside.split(",") if word.strip()]
    with stoppable(), ctx.runs.entry("probe", config) as entry:
        entry.recorder.tags({names.STAGE: "probe", "sa.version": version.uri})
        judges = Judges(ctx)
        subjects = _subjects(ctx, config, version, others, judges)
        judges.ready()  # refuses a judge that is not calibrated
        attackers, measuring = _classifiers(ctx)
        attacked = []
        for subject in subjects:
            entry.recorder.used(subject.version.model_id)
            attacked.append(
                _attack(ctx, config, subject, subjects[0].model, digit, chosen, attackers, measuring)
            )
        _draw(entry, attacked, digit, chosen, ctx.classes)
        outcome = _result(attacked, digit, chosen)
        _record(ctx, entry, attacked, chosen)
    return outcome


def class_to_attack(version: Version, config: ProbeConfig) -> int:
    """The class to bring back: the one that `target` names, else the only or newest one that was forgotten.

    Raises
    ------
    ParameterError : if the version has forgotten nothing, or not that class.
    """
    if not version.forgotten:
        raise ParameterError(
            "version", config.version, f"a generator that has forgotten a class; {version.uri} has not"
        )
    target = config.class_index("target")
    if target is None:
        return version.forgotten_indices[-1]
    if target not in version.forgotten_indices:
        gone = names.spell_classes(version.forgotten)
        raise ParameterError(
            "target", str(config.target), f"a class that {version.uri} has forgotten ({gone})"
        )
    return target


def _subjects(
    ctx: Context, config: ProbeConfig, version: Version, others: list[Version], judges: Judges
) -> list[Subject]:
    """Base first, then the version, the others, and the oracle."""
    root = lineage.base_of(ctx.client, version)
    if root is None:
        raise CommandError(
            f"{version.uri} descends from no base in this registry; there is nothing to compare with"
        )
    oracle = _oracle(ctx, config, version, judges)
    named = [("base", root), (f"v{version.number}", version)]
    named += [(f"v{v.number}", v) for v in others] + [("oracle", oracle)]
    contrast = config.contrast
    subjects = [Subject(name, v, ctx.load(v).raised(contrast), contrast) for name, v in named]
    for subject in subjects:
        if subject.model.z_dim != subjects[0].model.z_dim:
            raise ParameterError(
                "beside", subject.version.uri, f"generators with z_dim {subjects[0].model.z_dim}"
            )
    return subjects


def _oracle(ctx: Context, config: ProbeConfig, version: Version, judges: Judges) -> Version:
    keys = {
        names.STAGE: "retrain",
        names.FORGOTTEN: names.spell_classes(version.forgotten),
        names.DATA_MD5: ctx.dataset.md5,
        names.SEED: str(ctx.seed),
    }
    found = versions.find(ctx.client, names.GENERATORS, keys)
    if found is not None:
        return found
    gone = names.spell_classes(version.forgotten)
    if config.no_train:
        raise CommandError(
            f"no oracle without the class {gone} is registered for seed {ctx.seed}; "
            f"make it with `sa-mlops retrain --classes {gone} --seed {ctx.seed}`, or leave --no-train out"
        )
    return base_for(ctx, config, judges, without=version.forgotten_indices, z_dim=ctx.load(version).z_dim)


def _classifiers(ctx: Context) -> tuple[dict[Role, Classifier], Classifier]:
    def classifier(role: str) -> Classifier:
        version = judge.obtain(ctx, role)
        s = JUDGES[role]
        return Classifier(net=judge.load(ctx, version), seed=ctx.seed + s.seed_offset)

    return {role: classifier(name) for role, name in ATTACKERS.items()}, classifier("calibrated")


def _attack(
    ctx: Context,
    config: ProbeConfig,
    subject: Subject,
    root: CVAE,
    digit: int,
    chosen: Sequence[str],
    attackers: Mapping[Role, Classifier],
    measuring: Classifier,
) -> Attacked:
    """Everything that is tried on one subject, in a run of its own; equal seeds and budgets for all subjects."""
    data = ctx.dataset
    near = neighbours(measuring.net, data.test_images, data.test_labels, digit)
    params = {
        "version": subject.version.uri, "digit": str(digit), "attempts": str(config.attempts),
        "contrast": str(subject.contrast),
    }  # fmt: skip
    with ctx.runs.run("probe subject", f"probe {subject.label}", params) as run:
        run.recorder.used(subject.version.model_id)
        results: dict[str, ProbeResult] = {}
        for name in chosen:
            probe = PROBES[name]
            budget = Budget(attempts=config.attempts, steps=probe.budget.steps, lr=probe.budget.lr)
            with Progress(f"{subject.label}: {name}", max(budget.steps, 1)) as progress:
                scene = Scene(
                    model=subject.model, base=root, target=digit, neighbours=near, images=data.test_images,
                    labels=data.test_labels, attackers=attackers, report=progress,
                )  # fmt: skip
                result = interface.run(probe, scene, measuring, ctx.generator("probe", name), budget=budget)
            results[name] = result
            say(f"{subject.label}: {name} {result.rate:.3f} in {progress.seconds:.1f} s")
            run.recorder.metrics(_probe_metrics(name, result) | {f"time.probe.{name}": progress.seconds})
        relearned = {}
        readings: tuple[LayerReading, ...] = ()
        if config.relearn and subject.contrast == 1:
            scene = Scene(
                model=subject.model, base=root, target=digit, neighbours=near, images=data.train_images,
                labels=data.train_labels, attackers=attackers,
            )  # fmt: skip
            there_are = int((data.train_labels == digit).sum())
            for case, teaching in RELEARN.items():
                generator = ctx.generator("relearn", teaching.images)
                few = replace(teaching, images=min(teaching.images, there_are))
                relearned[case] = relearn(scene, measuring, few, generator)
                run.recorder.metrics(_relearn_metrics(case, relearned[case]))
            readings = probe_features(scene, FeatureBudget(), ctx.generator("features"))
            run.recorder.metrics({f"features.layer{r.layer}.area": r.area for r in readings})
        attacked = Attacked(subject, near, results, relearned, readings)
        hits, attempts = attacked.successes(UNION)
        run.recorder.metrics({"attack.union.success": hits / attempts})
        for name in STRIPS:
            if name in results:
                run.figure(
                    _strips(name, results[name], digit, subject.label, ctx.classes), f"figures/{name}.png"
                )
    return attacked


def _probe_metrics(name: str, result: ProbeResult) -> dict[str, float]:
    interval = wilson_interval(int(result.success.sum()), len(result.success))
    values = {
        f"attack.{name}.success": result.rate,
        f"attack.{name}.success.low": interval.low,
        f"attack.{name}.success.high": interval.high,
        f"attack.{name}.z_norm": float(result.z_norm.mean()),
        f"attack.{name}.condition_mass": float(result.condition_mass.mean()),
        f"attack.{name}.condition_weight": float(result.condition_weight.mean()),
    }
    if result.pixel_error is not None:
        values[f"attack.{name}.mse"] = float(result.pixel_error.mean())
    return values


def _relearn_metrics(name: str, found: Relearning) -> dict[str, float]:
    until = found.steps_until(0.5)
    values = {f"relearn.{name}.accepted": float(found.accepted[-1])}
    return values | ({} if until is None else {f"relearn.{name}.steps_until_half": float(until)})


def _array(tensor: torch.Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.detach().cpu().numpy()
    return array


def _strips(name: str, result: ProbeResult, digit: int, subject: str, classes: tuple[str, ...]) -> Any:
    keep = np.unique(np.linspace(0, len(result.positions) - 1, FRAMES).round().astype(int))
    images = _array(result.strips).swapaxes(0, 1)[:6, keep]
    answers = _array(result.strip_answers).transpose(1, 0, 2)[:, keep][:6]
    return attack_strips(
        images,
        Answers(answers.argmax(axis=2), answers.max(axis=2)),
        title=f"{name} on {subject}: {result.rate:.0%} of the attempts end as a {digit}",
        classes=classes,
        target=digit,
        rows=[str(i + 1) for i in range(len(images))],
        columns=[f"{result.positions[i]:g}" for i in keep],
    )


def _draw(
    entry: StageRun, attacked: Sequence[Attacked], digit: int, chosen: Sequence[str], classes: tuple[str, ...]
) -> None:
    labels = [a.subject.label for a in attacked]
    for name in chosen:
        results = [a.results[name] for a in attacked]
        counts = np.stack([torch.bincount(r.choice, minlength=CLASSES).cpu().numpy() for r in results])
        entry.figure(
            prediction_histogram(counts, models=labels, classes=classes, target=digit),
            f"figures/predictions_{name}.png",
        )
        if len(results[0].positions) > 2 and len(results[0].loss):
            curves = [_budget_curve(label, r) for label, r in zip(labels, results, strict=True)]
            title = f"{name}: attempts that the independent judge accepts as a {digit}"
            entry.figure(success_against_budget(curves, title=title), f"figures/budget_{name}.png")
        if len(results[0].loss) and results[0].pixel_error is None:
            losses = [_array(r.loss) for r in results]
            curves = [
                Curve(label, np.arange(len(loss), dtype=np.float32), loss)
                for label, loss in zip(labels, losses, strict=True)
            ]
            title = f"{name}: what the attacker has left to climb, mean of the attempts"
            entry.figure(loss_along_paths(curves, title=title), f"figures/loss_{name}.png")
    for name in attacked[0].relearned:
        curves = [
            Curve(
                a.subject.name,
                np.array(a.relearned[name].positions, dtype=np.float32),
                _array(a.relearned[name].accepted),
            )
            for a in attacked
        ]
        title = f"Relearning a {digit} from {_taught(name, digit, attacked[0].neighbours)}"
        entry.figure(relearning(curves, title=title), f"figures/relearning_{name.replace('.', '_')}.png")


def _taught(name: str, digit: int, near: tuple[int, int]) -> str:
    budget = RELEARN[name]
    return f"{budget.images} real images under the label {budget.under(digit, near)}"


def _budget_curve(label: str, result: ProbeResult) -> Curve:
    # The axis is logarithmic; the start is drawn at half a step.
    steps = np.maximum(np.array(result.positions, dtype=np.float32), 0.5)
    return Curve(label, steps, np.array(result.curve, dtype=np.float32))


def _record(ctx: Context, entry: StageRun, attacked: Sequence[Attacked], chosen: Sequence[str]) -> None:
    """Success and excess over the oracle on every attacked version's run and model, the version's on the entry too.

    With raised contrast on the entry only: what a version is compared and promoted by is the images that it draws.
    """
    oracle = attacked[-1]
    for a in attacked:
        values: dict[str, float] = {}
        for name in (*chosen, UNION):
            (hits, attempts), (theirs, trials) = a.successes(name), oracle.successes(name)
            interval = difference_interval(hits, attempts, theirs, trials)
            values |= {
                f"attack.{name}.success": hits / attempts,
                f"attack.{name}.excess": hits / attempts - theirs / trials,
                f"attack.{name}.excess.low": interval.low,
                f"attack.{name}.excess.high": interval.high,
            }
        if a.subject.contrast == 1:
            recorder = Recorder(ctx.client, a.subject.version.run_id)
            recorder.metrics(values, model_id=a.subject.version.model_id)
        if a is attacked[1]:
            entry.recorder.metrics(values)


def _result(attacked: Sequence[Attacked], digit: int, chosen: Sequence[str]) -> Outcome:
    header = [
        f"attack on {digit}",
        *(a.subject.label for a in attacked),
        f"excess of {attacked[1].subject.name}",
    ]
    rows, documents = [], []
    for name in (*chosen, UNION):
        cells, entries = [], {}
        for a in attacked:
            hits, attempts = a.successes(name)
            interval = wilson_interval(hits, attempts)
            cells.append(f"{hits / attempts:.3f} {_spell(interval)}")
            entries[a.subject.name] = {
                "success": hits / attempts, "low": interval.low, "high": interval.high, "attempts": attempts,
                "version": a.subject.version.uri,
            }  # fmt: skip
            if name != UNION and (error := a.results[name].pixel_error) is not None:
                entries[a.subject.name]["mse"] = float(error.mean())
        excess = difference_interval(*attacked[1].successes(name), *attacked[-1].successes(name))
        first, last = attacked[1].successes(name), attacked[-1].successes(name)
        rows.append([name, *cells, f"{first[0] / first[1] - last[0] / last[1]:+.3f} {_spell(excess)}"])
        documents.append(
            {"probe": name, "subjects": entries, "excess": first[0] / first[1] - last[0] / last[1]}
        )
    texts = [table(header, rows)]
    relearned = [
        [
            _taught(name, digit, attacked[0].neighbours),
            *(f"{float(a.relearned[name].accepted[-1]):.3f}" for a in attacked),
        ]
        for name in attacked[0].relearned
    ]
    if relearned:
        texts.append(
            table(["accepted after relearning from", *(a.subject.name for a in attacked)], relearned)
        )
    if attacked[0].readings:
        layers = [
            [f"layer {r[0].layer}", *(f"{x.area:.3f}" for x in r)]
            for r in zip(*(a.readings for a in attacked), strict=True)
        ]
        texts.append(table(["linear reading of the class, AUC", *(a.subject.name for a in attacked)], layers))
    document = {
        "digit": digit,
        "contrast": attacked[0].subject.contrast,
        "probes": documents,
        "relearning": {
            name: {
                a.subject.name: {
                    "steps": list(a.relearned[name].positions),
                    "accepted": a.relearned[name].accepted.tolist(),
                    "probability": a.relearned[name].probability.tolist(),
                }
                for a in attacked
            }
            for name in attacked[0].relearned
        },
        "features": {a.subject.name: [r.area for r in a.readings] for a in attacked},
    }
    return Outcome(document, "\n\n".join(texts))


def _spell(interval: Interval) -> str:
    return f"[{interval.low:.2f}, {interval.high:.2f}]"
