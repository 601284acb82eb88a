"""Checks of a judge: test accuracy, calibration, and its answers to images that show no class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sa_mlops.core.metrics.calibration import Reliability, reliability
from sa_mlops.core.runtime import make_generator
from sa_mlops.datasets.spec import Images
from sa_mlops.models.classifiers import Judge

CONTROL_SAMPLES = 1000
GREY_LEVELS = (0.3, 0.4, 0.5, 0.6, 0.7)
MIN_ENTROPY = 0.9772
"""Least mean entropy of an uncertain judge, as a share of ln K."""
MAX_PROBABILITY = 1.5
"""Largest probability of a class from an uncertain judge, as a multiple of chance, 1/K."""
MIN_ACCURACY = 0.5
"""Least test accuracy of a judge that may measure, as a share of the way from chance, 1/K, to 1."""


@dataclass(frozen=True, slots=True)
class Control:
    """A judge's answers to one kind of image that shows no class.

    Attributes
    ----------
    name : `grey`, `noise` (U[0, 1]) or `gaussian` (N(0.5, 0.25^2), clipped); for colour images also `colour` (flat) and
        `grey_noise` (U[0, 1], equal in all channels).
    samples : how many images.
    entropy : mean entropy of the answers, nats.
    max_probability : the largest probability given to any class for any of the images.
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
        return self.entropy >= self.least_entropy and self.max_probability <= self.most_probable

    @property
    def answers(self) -> str:
        """The answers beside their limits, in words."""
        return (
            f"{self.name.replace('_', ' ')} gets entropy {self.entropy:.3f} (at least {self.least_entropy:.3f}) and a "
            f"class at {self.max_probability:.3f} (at most {self.most_probable:.3f})"
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
    """Measurements of a judge: test accuracy in [0, 1], reliability on test images, and the controls."""

    accuracy: float
    reliability: Reliability
    controls: tuple[Control, ...]

    @property
    def failures(self) -> tuple[str, ...]:
        """Reasons why it must not measure, one line each; empty for a judge that may."""
        return failures(self.accuracy, self.controls)


def failures(accuracy: float, controls: Sequence[Control]) -> tuple[str, ...]:
    """Reasons why a judge must not measure, from its test accuracy in [0, 1] and its answers to the controls."""
    reasons = [c.answers for c in controls if not c.uncertain]
    chance = 1 / len(controls[0].answer)
    least = chance + MIN_ACCURACY * (1 - chance)
    if accuracy < least:
        reasons.append(f"it is right on {accuracy:.1%} of the test images (at least {least:.1%})")
    return tuple(reasons)


def control_images(shape: tuple[int, int, int], device: torch.device) -> dict[str, Tensor]:
    """The controls: name -> images (n, C, H, W) in [0, 1], the same for every judge of this image shape.

    Independent of the training outliers (`core.outliers`), though two kinds agree by definition.
    """
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
    return controls


@torch.no_grad()
def judge_controls(judge: Judge, device: torch.device) -> tuple[Control, ...]:
    """A judge's answers to each control."""
    controls = []
    for name, images in control_images(judge.spec.shape, device).items():
        probs = judge.log_probs(images).exp()
        controls.append(
            Control(
                name=name,
                samples=len(images),
                entropy=float(torch.special.entr(probs).sum(dim=1).mean()),
                max_probability=float(probs.max()),
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
        controls=judge_controls(judge, images.device),
    )


@torch.no_grad()
def answers(judge: Judge, images: Images, chunk: int = 1000) -> Tensor:
    """Log-probabilities (n, K) of images (n, C, H, W), a chunk at a time."""
    return torch.cat([judge.log_probs(part) for part in images.split(chunk)])


@torch.no_grad()
def features(judge: Judge, images: Images, chunk: int = 1000) -> Tensor:
    """Penultimate features (n, d) of images (n, C, H, W), a chunk at a time."""
    return torch.cat([judge.embed(part) for part in images.split(chunk)])
