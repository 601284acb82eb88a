"""All measurements of a generator, on tensors; every generator is sampled at the same latents."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from sa_mlops.core.elbo import negative_elbo
from sa_mlops.core.judging import Control, failures, features, judge_controls, judge_faded
from sa_mlops.core.metrics.frechet import Moments, frechet_distance, moments
from sa_mlops.core.metrics.intervals import Interval, as_metrics, bootstrap_interval
from sa_mlops.core.metrics.manifold import NEIGHBOURS, precision_recall
from sa_mlops.core.metrics.membership import Membership, membership_inference
from sa_mlops.core.metrics.nearest import nearest_real
from sa_mlops.core.metrics.objectives import forgetting_gap, retention
from sa_mlops.core.metrics.scores import ClassScores, class_scores, pixel_variance, sample_scores
from sa_mlops.core.runtime import make_generator
from sa_mlops.core.training import Report, silent
from sa_mlops.core.views import autolevels
from sa_mlops.datasets.spec import Dataset, DataSpec, Images, metric_word
from sa_mlops.errors import CommandError
from sa_mlops.models.classifiers import Judge
from sa_mlops.models.interface import CVAE

SAMPLES = 1000
"""Samples a class."""
MANIFOLD_SAMPLES = 3000
"""Real and generated images each behind precision and recall."""
MEMBERSHIP_SAMPLES = 3000
"""At most as many training and test images each behind the membership attack."""
ELBO_DRAWS = 4
"""Reparameterised draws behind an image's negative ELBO in the membership attack (one behind the test nELBO)."""
ROWS = 1000
"""Images whose activations are in memory at a time, in the negative ELBO."""
CHUNK_VALUES = 4_000_000
"""Most pixel values of the images whose negative ELBO is taken together."""
NEAREST_VALUES = 8_000_000
"""Most pixel values of the training images that are compared with samples together."""
RESAMPLES = 1000
MEMBERSHIP_RESAMPLES = 200


class JudgeError(CommandError):
    """The evaluation judge fails its own check. The message is one line."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Measures of the forgotten classes.

    Attributes
    ----------
    probability, entropy, accuracy : under the calibrated judge; the mean over samples, entropy in nats. The probability
        is that of the worse of two views (`core.views`).
    probability_as_is, probability_autolevels : of each view.
    probability_worst : of the likeliest class in the worse view.
    probability_interval, entropy_interval : 95 % bootstrap.
    probability_plain, entropy_plain : under the plain judge (the paper's protocol).
    pixel_variance : mean over samples of the variance over pixels.
    membership : loss-threshold attack on the classes' training images against their test images.
    nearest_mean, nearest_min : distance of samples to the nearest real training image of the classes, L2 over pixels.
    """

    probability: float
    entropy: float
    accuracy: float
    probability_as_is: float
    probability_autolevels: float
    probability_worst: float
    probability_interval: Interval
    entropy_interval: Interval
    probability_plain: float
    entropy_plain: float
    pixel_variance: float
    membership: Membership
    nearest_mean: float
    nearest_min: float


@dataclass(frozen=True, slots=True)
class Retained:
    """Measures of the retained classes.

    Attributes
    ----------
    accuracy, accuracy_min : mean and worst over classes of the calibrated judge's agreement with the condition.
    accuracy_interval : 95 % bootstrap of the mean over samples.
    fid, precision, recall : in the calibrated judge's penultimate features, against real test images of these classes;
        NaN where there are too few of them.
    nelbo : negative ELBO of these classes' test images, nats per image.
    """

    accuracy: float
    accuracy_min: float
    accuracy_interval: Interval
    fid: float
    precision: float
    recall: float
    nelbo: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One generator measured with some classes in the role of the forgotten ones.

    Attributes
    ----------
    spec : the data set, whose class names the metrics carry.
    classes : scores of all classes under the calibrated judge.
    forgotten : None if no class is in that role.
    test_nelbo : negative ELBO of all test images, nats per image.
    gap, retention : the tuner's two objectives (`core.metrics.objectives`); the gap is None without forgotten classes.
    """

    spec: DataSpec
    classes: tuple[ClassScores, ...]
    forgotten: Forgotten | None
    retained: Retained
    test_nelbo: float
    gap: float | None
    retention: float

    def metrics(self) -> dict[str, float]:
        """The values by their MLflow names."""
        r = self.retained
        out = {
            "test_nelbo": self.test_nelbo,
            **as_metrics("retain.accuracy", r.accuracy, r.accuracy_interval),
            "retain.accuracy_min": r.accuracy_min,
            "retain.fid": r.fid,
            "retain.precision": r.precision,
            "retain.recall": r.recall,
            "retain.nelbo": r.nelbo,
            "objective.retention": self.retention,
        }
        if self.forgotten is not None and self.gap is not None:
            f = self.forgotten
            out |= {
                **as_metrics("forget.prob", f.probability, f.probability_interval),
                "forget.prob_as_is": f.probability_as_is,
                "forget.prob_autolevels": f.probability_autolevels,
                "forget.prob_worst": f.probability_worst,
                **as_metrics("forget.entropy", f.entropy, f.entropy_interval),
                "forget.accuracy": f.accuracy,
                "forget.prob_plain": f.probability_plain,
                "forget.entropy_plain": f.entropy_plain,
                "forget.pixel_variance": f.pixel_variance,
                **as_metrics("forget.membership_auc", f.membership.auc, f.membership.interval),
                "forget.nearest_real": f.nearest_mean,
                "forget.nearest_real_min": f.nearest_min,
                "objective.gap": self.gap,
            }
        for s in self.classes:
            key = f"class.{metric_word(self.spec.classes[s.label])}"
            out |= {f"{key}.prob": s.probability, f"{key}.entropy": s.entropy, f"{key}.accuracy": s.accuracy}
        return out


@dataclass(frozen=True, slots=True)
class Drawn:
    """Samples of a generator as the judges see them.

    Attributes
    ----------
    model : the generator.
    labels : (n,) int64, conditions.
    log_probs, log_probs_plain : (n, K), answers of the calibrated and the plain judge.
    features : (n, d), penultimate layer of the calibrated judge.
    test_nelbo : negative ELBO of every test image, nats.
    """

    model: CVAE
    labels: Tensor
    log_probs: Tensor
    log_probs_plain: Tensor
    features: Tensor
    test_nelbo: Tensor


@dataclass(slots=True)
class Evaluator:
    """Measures generators against one data set under one pair of judges; real images are embedded once.

    Attributes
    ----------
    calibrated, plain : the judges.
    data : the real images.
    seed : decides latents and resamples.
    """

    calibrated: Judge
    plain: Judge
    data: Dataset
    seed: int
    _test_features: Tensor | None = field(default=None, init=False)
    _real_moments: dict[tuple[int, ...], Moments] = field(default_factory=dict, init=False)

    @property
    def device(self) -> torch.device:
        """Device of judges, images and generators."""
        return self.data.test_images.device

    def controls(self) -> tuple[tuple[Control, ...], tuple[Control, ...]]:
        """Answers of the calibrated and the plain judge to images that show no class.

        Raises JudgeError if the calibrated judge is certain of a class there, wrong on too many test images, or blind
        to faded ones; its measurements would mean nothing.
        """
        data = self.data
        calibrated = judge_controls(self.calibrated, data.test_images)
        with torch.no_grad():
            choices = self.calibrated.head(self._real_features()).argmax(dim=1)
        accuracy = float((choices == data.test_labels).double().mean())
        faded = judge_faded(self.calibrated, data.test_images, data.test_labels)
        if reasons := failures(accuracy, calibrated, faded):
            classes = data.spec.count
            raise JudgeError(
                f"the judge of {data.name} cannot be believed: {'; '.join(reasons)}; try more images a class "
                f"({len(data.train_labels) // classes} now), fewer classes ({classes} now) or another seed"
            )
        return calibrated, judge_controls(self.plain, data.test_images)

    def _real_features(self) -> Tensor:
        if self._test_features is None:
            self._test_features = features(self.calibrated, self.data.test_images)
        return self._test_features

    def samples(self, model: CVAE, label: int, count: int = SAMPLES) -> Tensor:
        """Images (count, C, H, W) of one class, at the same latents for every model of a latent size."""
        z = torch.randn(
            count,
            model.z_dim,
            generator=make_generator(self.device, self.seed, "evaluate", label),
            device=self.device,
        )
        with torch.no_grad():
            return model.sample(z, torch.full((count,), label, device=self.device))

    @torch.no_grad()
    def draw(self, model: CVAE, report: Report = silent) -> Drawn:
        """Sample every class of a generator and record the judges' answers; independent of the forgotten classes.

        `report` is called after each class with their number so far and no terms.
        """
        labels, log_probs, plain, embedded = [], [], [], []
        for c in range(self.data.spec.count):
            images = self.samples(model, c)
            embedding = self.calibrated.embed(images)
            labels.append(torch.full((len(images),), c, device=self.device))
            embedded.append(embedding)
            log_probs.append(F.log_softmax(self.calibrated.head(embedding), dim=1))
            plain.append(self.plain.log_probs(images))
            report(c + 1, {})
        elbo = self._nelbo(model, self.data.test_images, self.data.test_labels, draws=1)
        return Drawn(
            model, torch.cat(labels), torch.cat(log_probs), torch.cat(plain), torch.cat(embedded), elbo
        )

    def evaluate(self, model: CVAE, forgotten: tuple[int, ...]) -> Evaluation:
        """Measure `model` with the classes `forgotten` in the role of the forgotten ones, K - 1 at most."""
        return self.score(self.draw(model), forgotten)

    @torch.no_grad()
    def score(self, drawn: Drawn, forgotten: tuple[int, ...]) -> Evaluation:
        """The measures of drawn samples, with the classes `forgotten` in the role of the forgotten ones."""
        chosen = torch.isin(drawn.labels, self._classes(forgotten))
        classes = class_scores(drawn.log_probs, drawn.labels)
        rest = tuple(s for s in classes if s.label not in forgotten)
        role = tuple(s for s in classes if s.label in forgotten)
        correct = sample_scores(drawn.log_probs, drawn.labels).correct.float()
        fid, precision, recall = self._quality(drawn.features[~chosen], forgotten)
        kept_images = ~torch.isin(self.data.test_labels, self._classes(forgotten))
        return Evaluation(
            spec=self.data.spec,
            classes=classes,
            forgotten=self._forgotten(drawn, role, forgotten) if forgotten else None,
            retained=Retained(
                accuracy=_mean([s.accuracy for s in rest]),
                accuracy_min=min(s.accuracy for s in rest),
                accuracy_interval=self._interval(correct[~chosen], "accuracy"),
                fid=fid,
                precision=precision,
                recall=recall,
                nelbo=float(drawn.test_nelbo[kept_images].double().mean()),
            ),
            test_nelbo=float(drawn.test_nelbo.double().mean()),
            gap=forgetting_gap(role, self.data.spec.count) if role else None,
            retention=retention(rest),
        )

    def _forgotten(
        self, drawn: Drawn, role: tuple[ClassScores, ...], forgotten: tuple[int, ...]
    ) -> Forgotten:
        chosen = torch.isin(drawn.labels, self._classes(forgotten))
        scores = sample_scores(drawn.log_probs, drawn.labels)
        plain = [s for s in class_scores(drawn.log_probs_plain, drawn.labels) if s.label in forgotten]
        variances, distances, stretched = [], [], []
        for c in forgotten:
            images = self.samples(drawn.model, c)
            variances.append(pixel_variance(images))
            stretched.append(self.calibrated.log_probs(autolevels(images))[:, c].exp())
            distances.append(nearest_real(images, self._training(c)))
        as_is, leveled = scores.probability[chosen], torch.cat(stretched)
        worse = max(as_is, leveled, key=lambda view: float(view.double().mean()))
        return Forgotten(
            probability=float(worse.double().mean()),
            probability_as_is=float(as_is.double().mean()),
            probability_autolevels=float(leveled.double().mean()),
            probability_worst=max(
                max(s.probability for s in role), *(float(view.double().mean()) for view in stretched)
            ),
            entropy=_mean([s.entropy for s in role]),
            accuracy=_mean([s.accuracy for s in role]),
            probability_interval=self._interval(worse, "prob"),
            entropy_interval=self._interval(scores.entropy[chosen], "entropy"),
            probability_plain=_mean([s.probability for s in plain]),
            entropy_plain=_mean([s.entropy for s in plain]),
            pixel_variance=float(torch.cat(variances).double().mean()),
            membership=self._membership(drawn.model, forgotten),
            nearest_mean=float(torch.cat(distances).double().mean()),
            nearest_min=float(torch.cat(distances).min()),
        )

    def _training(self, label: int) -> Iterator[Tensor]:
        """The training images of a class, in parts of at most `NEAREST_VALUES` pixel values."""
        rows = (self.data.train_labels == label).nonzero().flatten()
        return (
            self.data.train_images[few] for few in rows.split(max(1, NEAREST_VALUES // self.data.spec.pixels))
        )

    def _classes(self, classes: tuple[int, ...]) -> Tensor:
        return torch.tensor(classes, dtype=torch.int64, device=self.device)

    def _interval(self, values: Tensor, purpose: str) -> Interval:
        generator = make_generator(self.device, self.seed, "bootstrap", purpose)
        return bootstrap_interval(values, generator, resamples=RESAMPLES)

    def _nelbo(self, model: CVAE, images: Images, labels: Tensor, draws: int) -> Tensor:
        """Negative ELBO of each image (n,), averaged over draws that are the same for every model."""
        generator = make_generator(self.device, self.seed, "elbo", len(images))
        parts = []
        chunk = max(1, min(5000, CHUNK_VALUES // self.data.spec.pixels))
        for rows, classes in zip(images.split(chunk), labels.split(chunk), strict=True):
            shape = (len(rows), model.z_dim)
            noises = torch.stack(
                [torch.randn(shape, generator=generator, device=self.device) for _ in range(draws)]
            )
            for few, their, noise in zip(
                rows.split(ROWS), classes.split(ROWS), noises.split(ROWS, dim=1), strict=True
            ):
                totals = [negative_elbo(model, few, their, n).total for n in noise]
                parts.append(torch.stack(totals).mean(dim=0))
        return torch.cat(parts)

    def _membership(self, model: CVAE, forgotten: tuple[int, ...]) -> Membership:
        """At most `MEMBERSHIP_SAMPLES` images a side, so that time does not grow with the number of classes."""
        generator = make_generator(self.device, self.seed, "membership")
        losses = []
        for images, labels in (
            (self.data.train_images, self.data.train_labels),
            (self.data.test_images, self.data.test_labels),
        ):
            rows = torch.isin(labels, self._classes(forgotten)).nonzero().flatten()
            order = torch.randperm(len(rows), generator=generator, device=self.device)
            rows = rows[order[:MEMBERSHIP_SAMPLES]]
            losses.append(self._nelbo(model, images[rows], labels[rows], ELBO_DRAWS))
        return membership_inference(losses[0], losses[1], generator, resamples=MEMBERSHIP_RESAMPLES)

    def _quality(self, generated: Tensor, forgotten: tuple[int, ...]) -> tuple[float, float, float]:
        keep = ~torch.isin(self.data.test_labels, self._classes(forgotten))
        real = self._real_features()[keep]
        if len(real) < 2:
            return math.nan, math.nan, math.nan
        if forgotten not in self._real_moments:
            self._real_moments[forgotten] = moments(real)
        fid = frechet_distance(self._real_moments[forgotten], moments(generated))
        count = min(MANIFOLD_SAMPLES, len(real), len(generated))
        if count <= NEIGHBOURS:
            return fid, math.nan, math.nan
        generator = make_generator(self.device, self.seed, "manifold")
        rows = torch.randperm(len(real), generator=generator, device=self.device)[:count]
        columns = torch.randperm(len(generated), generator=generator, device=self.device)[:count]
        quality = precision_recall(real[rows], generated[columns])
        return fid, quality.precision, quality.recall


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
