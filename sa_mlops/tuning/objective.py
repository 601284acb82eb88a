"""One trial: forget every digit under every seed from the shared base, and score what comes of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

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
from sa_mlops.methods.interface import Inputs, train_step
from sa_mlops.models.classifiers import Judge
from sa_mlops.models.interface import CVAE
from sa_mlops.registry import gates, names, tracking
from sa_mlops.registry.tracking import Recorder
from sa_mlops.registry.version import Version
from sa_mlops.settings import CLASSES, JUDGES
from sa_mlops.stages import fisher as fim
from sa_mlops.stages import forget, judge
from sa_mlops.stages.context import Context
from sa_mlops.stages.measure import Judges
from sa_mlops.tuning import study as studies

STUDY, TRIAL = "sa.study", "sa.trial"
"""Tags of a trial's run and versions: whose they are."""
ROUNDING = 1e-9
"""Accuracies are multiples of 1 / samples; their differences are so only up to this."""
ATTACKER = "attacker_calibrated"
"""Role of the judge that attacks on trials climb: neither the one that hardens nor the one that measures."""
ATTACK = Budget(attempts=64, steps=150, lr=0.1)
"""A trial's attack: enough to tell settings apart. What a version withstands is for `probe` to say."""
WORST = (3.0, 0.0)
"""Gap and retention of a trial whose training diverged."""


@dataclass(frozen=True, slots=True)
class Score:
    """How a generator does with one digit forgotten, or all generators of a trial together.

    Attributes
    ----------
    gap, retention : the objectives (`core.metrics.objectives`); of a hardened trial the gap has `attack` added, so
        that it lies in [0, 3].
    probability, entropy : of the forgotten digit.
    drop : largest loss of accuracy of a retained class against the base.
    attack : share of gradient attacks that bring the digit back, 0 where none are tried; part of the gap.
    seconds : that forgetting took.
    """

    gap: float
    retention: float
    probability: float
    entropy: float
    drop: float
    attack: float
    seconds: float

    @classmethod
    def together(cls, scores: Sequence[Score]) -> Score:
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


class Bench:
    """What all trials of a process share: base, Fisher diagonal, judges, and the base's own scores.

    Parameters
    ----------
    ctx : the command's, under the study's seed.
    base, fisher : versions that every trial starts from.
    """

    def __init__(
        self, ctx: Context, config: TuneConfig, base: Version, fisher: Version, judges: Judges
    ) -> None:
        self.ctx, self.config, self.base, self.fisher, self.judges = ctx, config, base, fisher, judges
        self.start = ctx.load(base)
        self.diagonal = fim.load(ctx, fisher, self.start)
        self.evaluator = judges.evaluator
        self.before = self.class_scores(self.start)
        self.trainers: dict[int, Judge] = {}
        self.attacker: Classifier | None = None
        if config.harden:
            self.trainers = {seed: self._judge(self.under(seed), "trainer") for seed in config.seeds}
            self.attacker = self._classifier(ATTACKER)

    def _judge(self, ctx: Context, role: str) -> Judge:
        return judge.load(ctx, judge.obtain(ctx, role))

    def _classifier(self, role: str) -> Classifier:
        s = JUDGES[role]
        return Classifier(net=self._judge(self.ctx, role), seed=self.ctx.seed + s.seed_offset)

    def forgotten(self, digit: int) -> tuple[int, ...]:
        """Every class that is gone once a trial has forgotten `digit`."""
        return tuple(sorted({*self.base.forgotten_indices, digit}))

    def under(self, seed: int) -> Context:
        """The context of forgetting under a seed; the judges stay those of the study."""
        return self.ctx.reseeded(seed)

    def steps(self, values: Mapping[str, Any]) -> list[ForgetConfig]:
        """What a trial with these values does: a step of forgetting for each digit and seed."""
        return [self.config.trial(d, s, values) for d in self.config.ordered for s in self.config.seeds]

    def class_scores(self, model: CVAE) -> tuple[ClassScores, ...]:
        """All ten classes under the calibrated judge: what a trial needs of an evaluation, at a tenth of its cost."""
        n = self.config.samples
        images = torch.cat([self.evaluator.samples(model, c, n) for c in range(CLASSES)])
        labels = torch.arange(CLASSES, device=images.device).repeat_interleave(n)
        return class_scores(self.evaluator.calibrated.log_probs(images), labels)

    def make(self, config: ForgetConfig) -> tuple[CVAE, float]:
        """The generator that `forget` would make, and the seconds it took.

        Raises
        ------
        NotFiniteError : if training diverged.
        """
        settings = config.resolved(self.base.forgotten_indices, None)
        ctx = self.under(config.seed)
        started = time.monotonic()
        if settings.harden is not None and config.seed not in self.trainers:
            self.trainers[config.seed] = self._judge(ctx, "trainer")
        inputs = Inputs(fisher=self.diagonal, classifier=self.trainers.get(config.seed))
        model = train_step(self.start, settings, inputs, ctx.generator)
        return model, time.monotonic() - started

    def attacked(self, model: CVAE, digit: int) -> float:
        """Share of joint attacks on latent and condition that bring the digit back; 0 where trials are not hardened."""
        if self.attacker is None:
            return 0.0
        images, labels = self.evaluator.data.test_images, self.evaluator.data.test_labels
        scene = Scene(
            model=model,
            base=self.start,
            target=digit,
            neighbours=neighbours(self.evaluator.calibrated, images, labels, digit),
            images=images,
            labels=labels,
            attackers={"calibrated": self.attacker},
        )
        measuring = self._classifier("calibrated")
        found = probes.run(
            Gradient(), scene, measuring, self.ctx.generator("probe", "tune", digit), budget=ATTACK
        )
        return float(found.success.double().mean())

    def score(self, model: CVAE, digit: int, seconds: float) -> Score:
        """The objectives and what they come from."""
        scores = self.class_scores(model)
        kept = [
            (b, s) for b, s in zip(self.before, scores, strict=True) if s.label not in self.forgotten(digit)
        ]
        gone = scores[digit]
        attack = self.attacked(model, digit)
        return Score(
            gap=forgetting_gap([gone], CLASSES) + attack,
            retention=retention([s for _, s in kept]),
            probability=gone.probability,
            entropy=gone.entropy,
            drop=max(b.accuracy - s.accuracy for b, s in kept),
            attack=attack,
            seconds=seconds,
        )

    def publish(self, config: ForgetConfig) -> Version:
        """The version of these settings as `forget` makes it: with every measure and picture, or reused."""
        settings = config.resolved(self.base.forgotten_indices, None)
        return forget.obtain(self.under(config.seed), self.base, settings, self.fisher, self.judges)

    def passes(self, version: Version) -> bool:
        """Whether a version passes every gate."""
        metrics = self.judges.ensure(version)
        return all(v.passed for v in gates.judge_version(version, metrics))


class Objective:
    """Called by Optuna with one trial after another; each becomes a run nested under the study's.

    Parameters
    ----------
    parent : run id of the command that leads the study.
    """

    def __init__(self, bench: Bench, study: optuna.Study, parent: str) -> None:
        self.bench, self.study, self.parent = bench, study, parent
        self.config = bench.config
        self.me = studies.Process.this().spelled()

    def __call__(self, trial: optuna.Trial) -> tuple[float, ...]:
        """Gap, retention and, where they count, seconds; the worst there are if training diverges."""
        trial.set_user_attr(studies.WORKER, self.me)
        values = studies.suggest(trial, self.config)
        tags = {
            "mlflow.parentRunId": self.parent,
            names.STAGE: "trial",
            STUDY: self.study.study_name,
            TRIAL: str(trial.number),
        }
        with tracking.open_run(f"trial {trial.number}", nested=True, tags=tags) as run_id:
            trial.set_user_attr(studies.RUN, run_id)
            recorder = Recorder(self.bench.ctx.client, run_id)
            recorder.params({k: str(v) for k, v in values.items()})
            return self._run(trial, values, recorder)

    def _run(self, trial: optuna.Trial, values: Mapping[str, Any], recorder: Recorder) -> tuple[float, ...]:
        steps = self.bench.steps(values)
        try:
            scores = [self.bench.score(*_made(self.bench, step)) for step in steps]
        except NotFiniteError as error:
            recorder.tags({"sa.error": str(error)})
            trial.set_constraint("class_drop", 1.0)
            return (*WORST, 1e9)[: len(self.study.directions)]
        found = Score.together(scores)
        recorder.metrics(found.metrics())
        recorder.metrics(
            {
                f"class.{step.indices[0]}.seed.{step.seed}.{key}": getattr(score, key)
                for step, score in zip(steps, scores, strict=True)
                for key in ("gap", "retention", "drop")
            }
        )
        for key, value in found.metrics().items():
            trial.set_user_attr(key, value)
        trial.set_constraint("class_drop", found.drop - studies.CLASS_DROP - ROUNDING)
        return (found.gap, found.retention, found.seconds)[: len(self.study.directions)]


def _made(bench: Bench, step: ForgetConfig) -> tuple[CVAE, int, float]:
    model, seconds = bench.make(step)
    return model, step.indices[0], seconds
