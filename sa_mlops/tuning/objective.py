"""One trial: forget each class under each seed from the shared base, and score the generators."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import optuna
import torch

from sa_mlops.config import ForgetConfig, TuneConfig
from sa_mlops.core.metrics.objectives import forgetting_gap, retention
from sa_mlops.core.metrics.scores import ClassScores, class_scores
from sa_mlops.core.probes import interface as probes
from sa_mlops.core.probes.gradient import Gradient
from sa_mlops.core.probes.interface import Budget, Classifier, Scene
from sa_mlops.core.probes.neighbours import neighbours
from sa_mlops.core.training import NotFiniteError
from sa_mlops.methods.interface import Inputs, StepSettings, needs_classifier, train_step
from sa_mlops.models.classifiers import Judge
from sa_mlops.models.interface import CVAE
from sa_mlops.registry import gates, names, processes, tracking
from sa_mlops.registry.tracking import Recorder
from sa_mlops.registry.version import Version
from sa_mlops.settings import JUDGES
from sa_mlops.stages import fisher as fishers
from sa_mlops.stages import forget, judge
from sa_mlops.stages.context import Context
from sa_mlops.stages.measure import Judges
from sa_mlops.tuning.front import CLASS_DROP, ROUNDING
from sa_mlops.tuning.space import suggest
from sa_mlops.tuning.study import RUN, WORKER

STUDY, TRIAL = "sa.study", "sa.trial"
"""Tags of a trial's run and versions."""
ATTACKER = "attacker_calibrated"
"""Role of the judge that attacks on trials ask; other judges harden and measure."""
ATTACK = Budget(attempts=64, steps=150, lr=0.1)
"""Budget of the attack on a trial: enough to compare settings; `probe` attacks harder."""
WORST = (3.0, 0.0)
"""Gap and retention of a trial whose training diverged."""


@dataclass(frozen=True, slots=True)
class TrialScore:
    """Scores of a generator with one class forgotten, or of all generators of a trial.

    Attributes
    ----------
    gap, retention : the objectives (`core.metrics.objectives`); with hardening, `attack` is added to the gap,
        which then lies in [0, 3].
    probability, entropy : of the forgotten class.
    drop : largest loss of accuracy of a retained class against the base.
    attack : share of gradient attacks that recover the class, 0 without hardening.
    seconds : duration of forgetting.
    """

    gap: float
    retention: float
    probability: float
    entropy: float
    drop: float
    attack: float
    seconds: float

    @classmethod
    def together(cls, scores: Sequence[TrialScore]) -> TrialScore:
        """Means, and the largest drop."""
        means = {f.name: sum(getattr(s, f.name) for s in scores) / len(scores) for f in fields(cls)}
        return cls(**means | {"drop": max(s.drop for s in scores)})

    def metrics(self) -> dict[str, float]:
        """By their MLflow names."""
        return {
            "objective.gap": self.gap,
            "objective.retention": self.retention,
            "forget.prob": self.probability,
            "forget.entropy": self.entropy,
            "retain.class_drop_max": self.drop,
            "attack.joint.success": self.attack,
            "time.forget": self.seconds,
        }


class TrialRunner:
    """Makes, scores and registers the generators of trials from one base, Fisher diagonal and set of judges.

    Parameters
    ----------
    ctx : the command's, under the study's seed.
    base, fisher : versions that every trial starts from; fisher is None if the method needs none.
    """

    def __init__(
        self, ctx: Context, config: TuneConfig, base: Version, fisher: Version | None, judges: Judges
    ) -> None:
        self.ctx, self.config, self.base, self.fisher, self.judges = ctx, config, base, fisher, judges
        self.start = ctx.load(base)
        self.diagonal = fishers.load(ctx, fisher, self.start) if fisher is not None else {}
        self.evaluator = judges.evaluator
        self.before = self.class_scores(self.start)
        self.trainers: dict[int, Judge] = {}
        self.attacker: Classifier | None = None
        if config.harden:
            self.trainers = {seed: self._judge(self.ctx.reseeded(seed), "trainer") for seed in config.seeds}
            self.attacker = self._classifier(ATTACKER)

    def _judge(self, ctx: Context, role: str) -> Judge:
        return judge.load(ctx, judge.obtain(ctx, role))

    def _classifier(self, role: str) -> Classifier:
        s = JUDGES[role]
        return Classifier(net=self._judge(self.ctx, role), seed=self.ctx.seed + s.seed_offset)

    def forgotten(self, label: int) -> tuple[int, ...]:
        """Every class that is forgotten after a trial has forgotten one."""
        return tuple(sorted({*self.base.forgotten_indices, label}))

    @property
    def reference(self) -> tuple[float, float]:
        """The reference point of hypervolumes, as losses.

        Its gap is that of the base, which forgets nothing, and its retention is half that of the base.
        """
        pairs = [
            ([self.before[c]], [s for s in self.before if s.label not in self.forgotten(c)])
            for c in self.config.ordered
        ]
        gap = float(np.mean([forgetting_gap(forgotten, len(self.before)) for forgotten, _ in pairs]))
        return gap, -float(np.mean([retention(retained) for _, retained in pairs])) / 2

    def steps(self, values: Mapping[str, Any]) -> list[tuple[int, ForgetConfig]]:
        """The steps of a trial with these values, one for each class and seed, with their classes."""
        c = self.config
        return [(label, c.trial(label, seed, values)) for label in c.ordered for seed in c.seeds]

    def resolved(self, config: ForgetConfig) -> StepSettings:
        """The settings of a step from the base."""
        return config.resolved(self.base.forgotten_indices, None, net=self.base.net)

    def class_scores(self, model: CVAE) -> tuple[ClassScores, ...]:
        """Scores of all classes under the calibrated judge, at a tenth of the cost of an evaluation."""
        n = self.config.samples
        images = torch.cat([self.evaluator.samples(model, c, n) for c in range(model.classes)])
        labels = torch.arange(model.classes, device=images.device).repeat_interleave(n)
        return class_scores(self.evaluator.calibrated.log_probs(images), labels)

    def make(self, config: ForgetConfig) -> tuple[CVAE, float]:
        """The generator that `forget` would make, without its figures, and the seconds it took.

        Raises NotFiniteError if training diverged.
        """
        settings = self.resolved(config)
        ctx = self.ctx.reseeded(config.seed)
        started = time.monotonic()
        if needs_classifier(settings) and config.seed not in self.trainers:
            self.trainers[config.seed] = self._judge(ctx, "trainer")
        trainer = self.trainers.get(config.seed)
        inputs = Inputs(fisher=self.diagonal, data=ctx.dataset, classifier=trainer)
        model = train_step(self.start, settings, inputs, ctx.generator)
        return model, time.monotonic() - started

    def attacked(self, model: CVAE, label: int) -> float:
        """Share of joint attacks on latent and condition that recover the class; 0 without hardening."""
        if self.attacker is None:
            return 0.0
        images, labels = self.evaluator.data.test_images, self.evaluator.data.test_labels
        scene = Scene(
            model=model,
            base=self.start,
            target=label,
            neighbours=neighbours(self.evaluator.calibrated, images, labels, label),
            images=images,
            labels=labels,
            attackers={"calibrated": self.attacker},
        )
        measuring = self._classifier("calibrated")
        found = probes.run(
            Gradient(), scene, measuring, self.ctx.generator("probe", "tune", label), budget=ATTACK
        )
        return float(found.success.double().mean())

    def score(self, label: int, model: CVAE, seconds: float) -> TrialScore:
        """The objectives of a generator with one class forgotten, and the scores behind them."""
        scores = self.class_scores(model)
        retained = [
            (b, s) for b, s in zip(self.before, scores, strict=True) if s.label not in self.forgotten(label)
        ]
        forgotten = scores[label]
        attack = self.attacked(model, label)
        return TrialScore(
            gap=forgetting_gap([forgotten], model.classes) + attack,
            retention=retention([s for _, s in retained]),
            probability=forgotten.probability,
            entropy=forgotten.entropy,
            drop=max(b.accuracy - s.accuracy for b, s in retained),
            attack=attack,
            seconds=seconds,
        )

    def publish(self, config: ForgetConfig) -> Version:
        """The version that `forget` makes of these settings, or has made."""
        settings = self.resolved(config)
        ctx = self.ctx.reseeded(config.seed)
        return forget.obtain(ctx, self.base, settings, self.fisher, self.judges, last=config.ordered[-1])

    def passes(self, version: Version) -> bool:
        """Whether a version passes every gate."""
        metrics = self.judges.ensure(version)
        return all(v.passed for v in gates.judge_version(version, metrics))


class Objective:
    """The function that Optuna calls with each trial; each trial is a run nested under the study's.

    Parameters
    ----------
    parent : run id of the command that leads the study.
    """

    def __init__(self, runner: TrialRunner, study: optuna.Study, parent: str) -> None:
        self.runner, self.study, self.parent = runner, study, parent
        self.process = processes.identity()

    def __call__(self, trial: optuna.Trial) -> tuple[float, ...]:
        """Gap, retention and, if they are an objective, seconds; the worst values if training diverges."""
        trial.set_user_attr(WORKER, self.process)
        values = suggest(trial, self.runner.config)
        tags = {
            "mlflow.parentRunId": self.parent,
            names.STAGE: "trial",
            STUDY: self.study.study_name,
            TRIAL: str(trial.number),
        }
        with tracking.open_run(f"trial {trial.number}", nested=True, tags=tags) as run_id:
            trial.set_user_attr(RUN, run_id)
            recorder = Recorder(self.runner.ctx.client, run_id)
            recorder.params({k: str(v) for k, v in values.items()})
            return self._run(trial, values, recorder)

    def _run(self, trial: optuna.Trial, values: Mapping[str, Any], recorder: Recorder) -> tuple[float, ...]:
        steps = self.runner.steps(values)
        try:
            scores = [self.runner.score(label, *self.runner.make(step)) for label, step in steps]
        except NotFiniteError as error:
            recorder.tags({"sa.error": str(error)})
            trial.set_constraint("class_drop", 1.0)
            return (*WORST, 1e9)[: len(self.study.directions)]
        found = TrialScore.together(scores)
        recorder.metrics(found.metrics())
        classes = self.runner.ctx.dataset.spec.classes
        recorder.metrics(
            {
                names.class_metric(classes[label], f"seed.{step.seed}.{key}"): getattr(score, key)
                for (label, step), score in zip(steps, scores, strict=True)
                for key in ("gap", "retention", "drop")
            }
        )
        for key, value in found.metrics().items():
            trial.set_user_attr(key, value)
        trial.set_constraint("class_drop", found.drop - CLASS_DROP - ROUNDING)
        return (found.gap, found.retention, found.seconds)[: len(self.study.directions)]
