"""`probe`: try to recover a forgotten class, with the base and the retrained control under the same attacks."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sa_mlops.config import ProbeConfig, RetrainConfig
from sa_mlops.core.fakes import FAKES
from sa_mlops.core.metrics.intervals import Interval, as_metrics, difference_interval, wilson_interval
from sa_mlops.core.probes import PROBES, interface, level
from sa_mlops.core.probes.features import FeatureBudget, LayerReading, probe_features
from sa_mlops.core.probes.interface import Budget, Classifier, ProbeResult, Role, Scene, union
from sa_mlops.core.probes.neighbours import neighbours
from sa_mlops.core.probes.relearning import CASES, SAMPLES, Relearning, sweep, sweep_steps
from sa_mlops.core.probes.weights import EDITS
from sa_mlops.core.probes.weights.interface import Tampered, tamper
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
from sa_mlops.registry import claims, lineage, names, versions
from sa_mlops.registry.tracking import Recorder, run_metrics
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
        budget = CASES[case]
        labels = [self.classes[i] for i in budget.under(self.index, self.near)]
        under = (
            f"the label {labels[0]}" if len(labels) == 1 else f"half the label {' and half '.join(labels)}"
        )
        images = "1 real image" if budget.images == 1 else f"{budget.images} real images"
        return ", ".join(part for part in (f"{images} under {under}", budget.words) if part)


@dataclass(frozen=True, slots=True)
class Subject:
    """A generator under attack: its name in tables, its version, its net, and the contrast of its images.

    A fake is built from the base in memory and has no version.
    """

    name: str
    version: Version | None
    model: CVAE
    contrast: float

    @property
    def label(self) -> str:
        """Its name with the contrast, where that is raised."""
        return self.name if self.contrast == 1 else f"{self.name} at contrast {self.contrast:g}"

    @property
    def source(self) -> str:
        """Its version, or how it was made."""
        return "a fake made of the base" if self.version is None else self.version.uri

    def used_by(self, recorder: Recorder) -> None:
        """Record its version as an input of a run."""
        if self.version is not None:
            recorder.used(self.version.model_id)


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

    def __str__(self) -> str:
        return f"{self.rate:.3f} {self.interval}"

    def metrics(self, key: str) -> dict[str, float]:
        """The rate and its interval by their MLflow names."""
        return as_metrics(key, self.rate, self.interval)

    def document(self) -> dict[str, float | int | str]:
        """The same in JSON types."""
        return {"success": self.rate, "low": self.interval.low, "high": self.interval.high}


@dataclass(frozen=True, slots=True)
class Attacked:
    """A subject with the results of all attacks on it."""

    subject: Subject
    results: Mapping[str, ProbeResult]
    relearned: Mapping[str, tuple[Relearning, ...]]
    readings: tuple[LayerReading, ...]
    tampered: Mapping[str, tuple[Tampered, ...]] = field(default_factory=dict)

    def score(self, probe: str) -> Score:
        """The score of one probe, or of `union`: an attempt succeeds if any probe's does."""
        hits = union(list(self.results.values())) if probe == UNION else self.results[probe].success
        return Score(int(hits.sum()), len(hits))

    def edits(self) -> dict[str, Score]:
        """The score of each edit: an attempt succeeds if it does on any variant."""
        return {name: _any([v.success for v in found]) for name, found in self.tampered.items()}

    def worst(self) -> tuple[Score, str, Relearning] | None:
        """The worst case of relearning: its score, its case, and its curve; None if there was no relearning."""
        curves = [(curve, case) for case, found in self.relearned.items() for curve in found]
        if not curves:
            return None
        curve, case = max(curves, key=lambda pair: pair[0].worst[0])
        return Score(round(curve.worst[0] * SAMPLES), SAMPLES), case, curve

    def levels(self) -> dict[str, Score]:
        """The score of each row of `claims.ROWS` of which every attack was made.

        An attempt succeeds if any attack's does; after the best edit, where the label alone is asked for; A5 is the
        worst case of relearning.
        """
        scores: dict[str, Score] = {}
        searches = [name for name in PROBES if level(name) in ("A0", "A1")]
        for row in claims.LEVELS:
            probes = [name for name in PROBES if level(name) == row]
            edits = [name for name in EDITS if EDITS[name].level == row]
            variants = [v for name in edits for v in self.tampered.get(name, ())]
            if row == "A2":
                if self.results.keys() >= set(searches):
                    scores[row] = _any([self.results[name].success_autolevels for name in searches])
            elif row == "A5":
                if (worst := self.worst()) is not None:
                    scores[row] = worst[0]
            elif self.results.keys() >= set(probes) and self.tampered.keys() >= set(edits):
                won = [self.results[name].success for name in probes] + [v.success for v in variants]
                if won:
                    scores[row] = _any(won)
                if variants:
                    best = max((v.direct for v in variants), key=lambda hits: int(hits.sum()))
                    scores[row + claims.DIRECT] = Score(int(best.sum()), len(best))
        return scores


def _any(successes: Sequence[torch.Tensor]) -> Score:
    hits = torch.stack(list(successes)).any(dim=0)
    return Score(int(hits.sum()), len(hits))


def run(config: ProbeConfig) -> Result:
    """Attack a version, its base, the retrained control and further generators, and compare."""
    ctx = Context.open(config)
    version = ctx.named_generator("version", config.version)
    index = class_to_recover(ctx, version, config)
    chosen = config.chosen(tuple(PROBES))
    others = [ctx.named_generator("beside", word) for word in config.beside.split(",") if word.strip()]
    with ctx.runs.entry("probe", config) as entry:
        entry.recorder.tags({names.STAGE: "probe", "sa.version": version.uri})
        judges = Judges(ctx)
        subjects = _subjects(ctx, config, version, others, judges)
        if config.tampers:
            subjects[-1:-1] = _fakes(ctx, subjects[0].model, version.forgotten_indices)
        judges.ready()
        attackers = {role: _classifier(ctx, name) for role, name in ATTACKERS.items()}
        measuring = _classifier(ctx, "calibrated")
        data = ctx.dataset
        near = neighbours(measuring.net, data.test_images, data.test_labels, index)
        target = Target(data.spec.classes, index, near)
        attacked = []
        for number, subject in enumerate(subjects, start=1):
            say(f"generator {number} of {len(subjects)}: {subject.label} ({subject.source})")
            subject.used_by(entry.recorder)
            scene = Scene(
                model=subject.model, base=subjects[0].model, target=index, neighbours=near,
                images=data.test_images, labels=data.test_labels, attackers=attackers,
                forgotten=version.forgotten_indices,
            )  # fmt: skip
            attacked.append(_attack(ctx, config, subject, scene, target, chosen, measuring))
        _draw(entry, attacked, target, chosen)
        _record(ctx, entry, attacked, target, chosen)
        return _result(ctx, attacked, target, chosen)


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
            option = "beside" if subject.version in others else "version"
            allowed = f"generators with the latent size of their base {root.uri}, {z_dim}"
            raise ParameterError(option, subject.source, allowed)
    return subjects


def _fakes(ctx: Context, base: CVAE, forgotten: Sequence[int]) -> list[Subject]:
    """The fakes that the net has; they are never registered."""
    made = []
    for name in claims.FAKES:
        try:
            made.append(Subject(name, None, FAKES[name](base, forgotten, ctx.generator("fake", name)), 1.0))
        except ValueError as error:
            say(f"{name} is left out: {error}")
    return made


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
    z_dim = ctx.load(version).z_dim
    if config.no_train:
        wanted = RetrainConfig(
            dataset=config.dataset, seed=ctx.seed, recipe=config.recipe, z_dim=z_dim, net=version.net,
            classes=version.forgotten,
        )  # fmt: skip
        raise CommandError(
            f"no generator retrained without {classes} is registered for seed {ctx.seed}; "
            f"make it with `{shlex.join(('sa-mlops', 'retrain', *wanted.words()))}`, or leave --no-train out"
        )
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
        "version": subject.source, "class": target.name, "attempts": str(config.attempts),
        "contrast": str(subject.contrast),
    }  # fmt: skip
    with ctx.runs.run("probe subject", f"probe {subject.label}", params) as run:
        subject.used_by(run.recorder)
        results: dict[str, ProbeResult] = {}
        for name in chosen:
            probe = PROBES[name]
            budget = Budget(attempts=config.attempts, steps=probe.budget.steps, lr=probe.budget.lr)
            with Progress(f"{subject.label}: {name}", max(budget.steps, 1)) as progress:
                watched = replace(scene, report=progress)
                result = interface.run(probe, watched, measuring, ctx.generator("probe", name), budget=budget)
                progress.outcome = f"{result.rate:.0%} of the attempts succeed"
            results[name] = result
            run.recorder.metrics(_probe_metrics(name, result) | {f"time.probe.{name}": progress.seconds})
        data = ctx.dataset
        training = replace(scene, images=data.train_images, labels=data.train_labels)
        relearned: dict[str, tuple[Relearning, ...]] = {}
        readings: tuple[LayerReading, ...] = ()
        if config.relearn and subject.contrast == 1:
            available = int((data.train_labels == target.index).sum())
            for case, teaching in CASES.items():
                few = replace(teaching, images=min(teaching.images, available))
                title = f"{subject.label}: relearning from {target.taught(case)}"
                with Progress(title, sweep_steps(few)) as progress:
                    watched = replace(training, report=progress)
                    draws = ctx.generator("relearn", teaching.images)
                    relearned[case] = sweep(watched, measuring, few, draws)
                    worst = max(curve.worst[0] for curve in relearned[case])
                    progress.outcome = f"at worst {worst:.0%} of the samples accepted"
                run.recorder.metrics(_relearn_metrics(case, relearned[case]))
            readings = probe_features(training, FeatureBudget(), ctx.generator("features"))
            run.recorder.metrics({f"features.layer{r.layer}.area": r.area for r in readings})
        tampered = _tamper(ctx, config, subject, scene, training, measuring) if config.tampers else {}
        attacked = Attacked(subject, results, relearned, readings, tampered)
        run.recorder.metrics(_level_metrics(attacked))
        run.recorder.metrics({f"attack.{UNION}.success": attacked.score(UNION).rate})
        for name in STRIPS:
            if name in results:
                run.figure(_strips(name, results[name], target, subject.label), f"figures/{name}.png")
    return attacked


def _tamper(
    ctx: Context, config: ProbeConfig, subject: Subject, scene: Scene, training: Scene, measuring: Classifier
) -> dict[str, tuple[Tampered, ...]]:
    """All attacks on weights but relearning; further training has the training images."""
    found = {}
    with Progress(f"{subject.label}: attacks on weights", len(EDITS)) as progress:
        for step, (name, edit) in enumerate(EDITS.items(), start=1):
            images = training if edit.level == "A4" else scene
            draws = ctx.generator("tamper", name)
            try:
                found[name] = tamper(edit, images, measuring, draws, attempts=config.attempts)
            except ValueError as error:
                say(f"{subject.label}: {name} is left out: {error}")
            progress(step, {})
    return found


def _level_metrics(attacked: Attacked) -> dict[str, float]:
    values: dict[str, float] = {}
    for name, score in attacked.edits().items():
        values |= score.metrics(f"tamper.{name}.success")
    for row, score in attacked.levels().items():
        values |= score.metrics(claims.metric(row))
    if (worst := attacked.worst()) is not None:
        score, _, curve = worst
        values |= score.metrics("relearn.worst")
        values |= {"relearn.worst.lr": curve.lr, "relearn.worst.steps": float(curve.worst[1])}
    return values


def _probe_metrics(name: str, result: ProbeResult) -> dict[str, float]:
    values = {
        **Score(int(result.success.sum()), len(result.success)).metrics("success"),
        "success_as_is": float(result.success_as_is.double().mean()),
        "success_autolevels": float(result.success_autolevels.double().mean()),
        "z_norm": float(result.z_norm.mean()),
        "condition_mass": float(result.condition_mass.mean()),
        "condition_weight": float(result.condition_weight.mean()),
    }
    if result.pixel_error is not None:
        values["mse"] = float(result.pixel_error.mean())
    return {f"attack.{name}.{key}": value for key, value in values.items()}


def _relearn_metrics(case: str, found: Sequence[Relearning]) -> dict[str, float]:
    first = found[0]
    until = first.steps_until(0.5)
    values = {
        f"relearn.{case}.accepted": float(first.accepted[-1]),
        f"relearn.{case}.worst": max(curve.worst[0] for curve in found),
    }
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
        found = [(a.subject.name, a.relearned[case][0]) for a in attacked]
        curves = [
            Curve(name, np.array(r.positions, dtype=np.float32), _array(r.accepted)) for name, r in found
        ]
        title = f"Relearning class {target.name} from {target.taught(case)}"
        entry.figure(relearning(curves, title=title), f"figures/relearning_{case.replace('.', '_')}.png")


def _record(
    ctx: Context, entry: StageRun, attacked: Sequence[Attacked], target: Target, chosen: Sequence[str]
) -> None:
    """Log success and excess over the retrained control with every attacked version, the probed one's on the entry.

    Versions that forgot the class also get the levels of the generators beside them, and a tag with their claims. With
    raised contrast all goes on the entry only: versions are compared and promoted by the images that they draw.
    """
    control = attacked[-1]
    for a in attacked:
        version = a.subject.version
        forgot = version is not None and version.stage == "forget" and target.name in version.forgotten
        values: dict[str, float] = {}
        for name in (*chosen, UNION):
            values[f"attack.{name}.success"] = a.score(name).rate
            values |= as_metrics(f"attack.{name}.excess", *a.score(name).excess(control.score(name)))
        values |= _level_metrics(a)
        for row in a.levels().keys() & control.levels().keys():
            excess = a.levels()[row].excess(control.levels()[row])
            values |= as_metrics(claims.metric(row, measure="excess"), *excess)
        for other in attacked if forgot else ():
            if other.subject.name in claims.BESIDE:
                for row, score in other.levels().items():
                    values |= score.metrics(claims.metric(row, other.subject.name))
        if version is not None and a.subject.contrast == 1:
            Recorder(ctx.client, version.run_id).metrics(values, model_id=version.model_id)
            if forgot:
                _claim(ctx, version, target, values)
        if a is attacked[1]:
            entry.recorder.metrics(values)


def _claim(ctx: Context, version: Version, target: Target, values: Mapping[str, float]) -> None:
    """Tag a version with its claims. Earlier probes count too, unless they may have been of another class."""
    alone = version.forgotten == (target.name,)
    claim = claims.claim(run_metrics(ctx.client, version.run_id) if alone else values)
    if claim:
        words = claim if alone else f"class {target.name} alone: {claim}"
        ctx.client.set_model_version_tag(version.name, str(version.number), names.LEVEL, words)


def _result(ctx: Context, attacked: Sequence[Attacked], target: Target, chosen: Sequence[str]) -> Result:
    probed, control = attacked[1], attacked[-1]
    subjects = [a.subject.name for a in attacked]
    rows, documents = [], []
    for name in (*chosen, UNION):
        scores = [a.score(name) for a in attacked]
        excess, interval = probed.score(name).excess(control.score(name))
        rows.append([name, *map(str, scores), f"{excess:+.3f} {interval}"])
        entries = {a.subject.name: _entry(a, name) for a in attacked}
        documents.append({"probe": name, "subjects": entries, "excess": excess})
    header = [f"attack on {target.name}", *(a.subject.label for a in attacked)]
    texts = [table([*header, f"excess of {probed.subject.name}"], rows)]
    if cases := list(probed.relearned):
        rows = [
            [target.taught(case), *(f"{float(a.relearned[case][0].accepted[-1]):.3f}" for a in attacked)]
            for case in cases
        ]
        rows.append(["worst case", *(_cell(worst[0] if (worst := a.worst()) else None) for a in attacked)])
        texts.append(table(["accepted after relearning from", *subjects], rows))
    if probed.readings:
        layers = zip(*(a.readings for a in attacked), strict=True)
        rows = [[f"layer {r[0].layer}", *(f"{x.area:.3f}" for x in r)] for r in layers]
        texts.append(table(["linear reading of the class, AUC", *subjects], rows))
    if probed.tampered:
        rows = [
            [f"{name} ({EDITS[name].level})", *(_cell(a.edits().get(name)) for a in attacked)]
            for name in probed.tampered
        ]
        texts.append(table([f"attack on weights for {target.name}", *subjects], rows))
    claim = _claimed(ctx, probed)
    texts += _level_texts(attacked, target)
    texts += [f"{probed.subject.name}: {claim}"] if claim else []
    document = {
        "class": target.name,
        "contrast": probed.subject.contrast,
        "claim": claim,
        "probes": documents,
        "relearning": {
            case: {
                a.subject.name: {
                    "steps": list(a.relearned[case][0].positions),
                    "accepted": a.relearned[case][0].accepted.tolist(),
                    "probability": a.relearned[case][0].probability.tolist(),
                }
                for a in attacked
            }
            for case in cases
        },
        "relearning_worst": {a.subject.name: _worst(a, target) for a in attacked if a.relearned},
        "features": {a.subject.name: [r.area for r in a.readings] for a in attacked},
        "tampering": {
            name: {a.subject.name: a.edits()[name].document() for a in attacked if name in a.tampered}
            for name in probed.tampered
        },
        "levels": {
            row: {a.subject.name: a.levels()[row].document() for a in attacked if row in a.levels()}
            for row in probed.levels()
        },
    }
    return Result(document, "\n\n".join(texts))


def _claimed(ctx: Context, probed: Attacked) -> str:
    """The claim that the probed version carries now."""
    version = probed.subject.version
    if version is None or probed.subject.contrast != 1:
        return ""
    return versions.get(ctx.client, version.name, version.number).claim


def _level_texts(attacked: Sequence[Attacked], target: Target) -> list[str]:
    """The table of levels, if every attack of one was made."""
    probed, control = attacked[1], attacked[-1]
    rows = []
    for row, score in probed.levels().items():
        excess, interval = score.excess(control.levels()[row])
        cells = [_cell(a.levels().get(row)) for a in attacked]
        name = f"{row.removesuffix(claims.DIRECT)} {claims.ROWS[row]}"
        rows.append([name, *cells, f"{excess:+.3f} {interval}"])
    if not rows:
        return []
    header = [f"attacker of {target.name}", *(a.subject.name for a in attacked)]
    return [
        table([*header, f"excess of {probed.subject.name}"], rows),
        "An excess below zero does not mean that a generator is better than the retrained control.",
    ]


def _worst(attacked: Attacked, target: Target) -> dict[str, float | int | str]:
    """The worst case of relearning in the document."""
    found = attacked.worst()
    assert found is not None
    score, case, curve = found
    return score.document() | {"case": target.taught(case), "lr": curve.lr, "steps": curve.worst[1]}


def _cell(score: Score | None) -> str:
    return "-" if score is None else str(score)


def _entry(attacked: Attacked, probe: str) -> dict[str, float | int | str]:
    """A subject's part of the document of a probe."""
    score = attacked.score(probe)
    entry = score.document() | {"attempts": score.attempts, "version": attacked.subject.source}
    if probe != UNION and (error := attacked.results[probe].pixel_error) is not None:
        entry["mse"] = float(error.mean())
    return entry
