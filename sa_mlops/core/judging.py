"""Checks of a judge: accuracy, calibration, faded test images, and its answers to images that show no class."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sa_mlops.core.metrics.calibration import Reliability, reliability
from sa_mlops.core.runtime import make_generator
from sa_mlops.core.views import autolevels
from sa_mlops.datasets.spec import Images
from sa_mlops.models.classifiers import Judge

CONTROL_SAMPLES = 1000
CHUNK = 1000
"""Images that a judge sees at a time."""
GREY_LEVELS = (0.3, 0.4, 0.5, 0.6, 0.7)
MIN_ENTROPY = 0.9772
"""Least mean entropy of an uncertain judge, as a share of ln K."""
MAX_PROBABILITY = 1.5
"""Largest probability of a class from an uncertain judge, as a multiple of chance, 1/K."""
MIN_ACCURACY = 0.5
"""Least test accuracy of a judge that may measure, as a share of the way from chance, 1/K, to 1."""
CONTRASTS = (1.0, 0.7, 0.5, 0.3, 0.1, 0.02)
"""Contrasts around mid grey at which real test images are shown."""
HALF = "half_brightness"
"""Real test images at half brightness: on black, dark strokes."""
FADED_SAMPLES = 300
MIN_KEPT = 0.97
"""Least share of the images recognised at full contrast that a judge recognises when they are faded."""
LEAST_CONTRAST = 0.1
"""Least contrast at which that is required."""


@dataclass(frozen=True, slots=True)
class Faded:
    """Shares of real test images that a judge recognises, with a probability above one half for their class.

    Attributes
    ----------
    as_is : of the images as they are, [0, 1].
    either : in either view (`core.views`), in which everything is judged.
    """

    as_is: float
    either: float


@dataclass(frozen=True, slots=True)
class Control:
    """A judge's answers to one kind of image that shows no class.

    Attributes
    ----------
    name : `grey`, `noise` (U[0, 1]), `gaussian` (N(0.5, 0.25^2), clipped) or `shuffled` (real images, their pixels in
        random order); for colour images also `colour` (flat) and `grey_noise` (U[0, 1], equal in all channels).
    samples : how many images.
    entropy : mean entropy of the answers, nats.
    max_probability : the largest probability given to any class for any of the images, in either view.
    answer : (K,) mean answer.
    """

    name: str
    samples: int
    entropy: float
    max_probability: float
    answer: tuple[float, ...]

    @property
    def uncertain(self) -> bool:
        """Whether the answers are close to uniform, as an evaluation judge's must be."""
        return self.entropy >= self.least_entropy and self.limited <= self.most_probable

    @property
    def limited(self) -> float:
        """The largest probability of any image; of the mean answer for `shuffled`, where a few may show a class."""
        return max(self.answer) if self.name == "shuffled" else self.max_probability

    @property
    def answers(self) -> str:
        """The answers beside their limits, in words."""
        return (
            f"{self.name.replace('_', ' ')} gets entropy {self.entropy:.3f} (at least {self.least_entropy:.3f}) and a "
            f"class at {self.limited:.3f} (at most {self.most_probable:.3f})"
        )

    @property
    def least_entropy(self) -> float:
        """The entropy that an uncertain judge has at least, nats."""
        return MIN_ENTROPY * math.log(len(self.answer))

    @property
    def most_probable(self) -> float:
        """The probability that an uncertain judge gives to a class at most."""
        return MAX_PROBABILITY / len(self.answer)


@dataclass(frozen=True, slots=True)
class JudgeCheck:
    """Measurements of a judge: test accuracy in [0, 1], reliability on test images, controls, and faded images."""

    accuracy: float
    reliability: Reliability
    controls: tuple[Control, ...]
    faded: Mapping[str, Faded]

    @property
    def failures(self) -> tuple[str, ...]:
        """Reasons why it must not measure, one line each; empty for a judge that may."""
        return failures(self.accuracy, self.controls, self.faded)


def failures(accuracy: float, controls: Sequence[Control], faded: Mapping[str, Faded]) -> tuple[str, ...]:
    """Reasons why a judge must not measure: its test accuracy, and its answers to controls and faded images."""
    reasons = [c.answers for c in controls if not c.uncertain]
    chance = 1 / len(controls[0].answer)
    least = chance + MIN_ACCURACY * (1 - chance)
    if accuracy < least:
        reasons.append(f"it is right on {accuracy:.1%} of the test images (at least {least:.1%})")
    required = [fade for contrast, fade in zip(CONTRASTS, FADES, strict=False) if contrast >= LEAST_CONTRAST]
    wanted = MIN_KEPT * faded[FADES[0]].either
    reasons += [
        f"it recognises {faded[fade].either:.1%} of real images at {fade.replace('_', ' ')} (at least {wanted:.1%})"
        for fade in (*required, HALF)
        if faded[fade].either < wanted
    ]
    return tuple(reasons)


FADES = (*(f"contrast_{contrast:g}" for contrast in CONTRASTS), HALF)
"""Names of the ways in which real images are faded; the first leaves them as they are."""


@torch.no_grad()
def judge_faded(judge: Judge, images: Images, labels: Tensor) -> dict[str, Faded]:
    """The shares of `FADED_SAMPLES` test images (n, C, H, W) with labels (n,) that a judge recognises, by `FADES`."""
    rows = _spread(len(labels), FADED_SAMPLES, labels.device)
    real, classes = images[rows], labels[rows]
    shown = [0.5 + contrast * (real - 0.5) for contrast in CONTRASTS] + [0.5 * real]
    found = {}
    for fade, seen in zip(FADES, shown, strict=True):
        as_is, leveled = (_recognised(judge, view, classes) for view in (seen, autolevels(seen)))
        found[fade] = Faded(float(as_is.double().mean()), float((as_is | leveled).double().mean()))
    return found


def _spread(size: int, count: int, device: torch.device) -> Tensor:
    """At most `count` rows of `size`, at equal distances: data may be sorted by class."""
    return torch.linspace(0, size - 1, min(count, size), device=device).long()


def _recognised(judge: Judge, images: Tensor, labels: Tensor) -> Tensor:
    return answers(judge, images).gather(1, labels[:, None]).squeeze(1).exp() > 0.5


def control_images(images: Images) -> dict[str, Tensor]:
    """The controls: name -> images (n, C, H, W) in [0, 1], the same for every judge of these test images.

    Independent of the training outliers (`core.outliers`), though two kinds agree by definition.
    """
    few = images[_spread(len(images), CONTROL_SAMPLES, images.device)]
    device, shape = few.device, few.shape[1:]
    generator = make_generator(device, 0, "controls")
    size = (CONTROL_SAMPLES, *shape)
    normal = torch.randn(size, generator=generator, device=device)
    controls = {
        "grey": torch.tensor(GREY_LEVELS, device=device)[:, None, None, None].expand(-1, *shape),
        "noise": torch.rand(size, generator=generator, device=device),
        "gaussian": (0.5 + 0.25 * normal).clamp(0, 1),
    }
    if shape[0] > 1:
        colours = torch.rand((CONTROL_SAMPLES, shape[0], 1, 1), generator=generator, device=device)
        grey = torch.rand((CONTROL_SAMPLES, 1, *shape[1:]), generator=generator, device=device)
        controls |= {"colour": colours.expand(size), "grey_noise": grey.expand(size)}
    order = torch.rand((len(few), 1, shape[1] * shape[2]), generator=generator, device=device).argsort(dim=2)
    pixels = few.flatten(2)
    return controls | {"shuffled": pixels.gather(2, order.expand_as(pixels)).view_as(few)}


@torch.no_grad()
def judge_controls(judge: Judge, images: Images) -> tuple[Control, ...]:
    """A judge's answers to each control; `images` are the test images."""
    controls = []
    for name, shown in control_images(images).items():
        probs = judge.log_probs(shown).exp()
        leveled = judge.log_probs(autolevels(shown)).exp()
        controls.append(
            Control(
                name=name,
                samples=len(shown),
                entropy=float(torch.special.entr(probs).sum(dim=1).mean()),
                max_probability=float(torch.maximum(probs, leveled).max()),
                answer=tuple(probs.mean(dim=0).tolist()),
            )
        )
    return tuple(controls)


@torch.no_grad()
def check_judge(judge: Judge, images: Images, labels: Tensor) -> JudgeCheck:
    """Measure a judge on test images (n, C, H, W) with labels (n,) and on the controls."""
    log_probs = answers(judge, images)
    return JudgeCheck(
        accuracy=float((log_probs.argmax(dim=1) == labels).double().mean()),
        reliability=reliability(log_probs, labels),
        controls=judge_controls(judge, images),
        faded=judge_faded(judge, images, labels),
    )


@torch.no_grad()
def answers(judge: Judge, images: Images) -> Tensor:
    """Log-probabilities (n, K) of images (n, C, H, W), a chunk at a time."""
    return torch.cat([judge.log_probs(part) for part in images.split(CHUNK)])


@torch.no_grad()
def features(judge: Judge, images: Images) -> Tensor:
    """Penultimate features (n, d) of images (n, C, H, W), a chunk at a time."""
    return torch.cat([judge.embed(part) for part in images.split(CHUNK)])
