"""Whether a judge may be believed off the manifold: its answers to images that are no digits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sa_mlops.core.metrics.calibration import Reliability, reliability
from sa_mlops.core.runtime import make_generator
from sa_mlops.models.classifiers import Judge
from sa_mlops.settings import PIXELS

CONTROL_SAMPLES = 1000
GREY_LEVELS = (0.3, 0.4, 0.5, 0.6, 0.7)
MIN_ENTROPY = 2.25
MAX_PROBABILITY = 0.15


@dataclass(frozen=True, slots=True)
class Control:
    """A judge's answers to one kind of image that is no digit.

    Attributes
    ----------
    name : `grey`, `noise` (U[0, 1]) or `gaussian` (N(0.5, 0.25^2), clipped).
    samples : how many images.
    entropy : mean entropy of the answers, nats.
    max_probability : the largest probability given to any class for any of the images.
    answer : (10,) mean answer.
    """

    name: str
    samples: int
    entropy: float
    max_probability: float
    answer: tuple[float, ...]

    @property
    def uncertain(self) -> bool:
        """Whether the judge says "I cannot tell", as an evaluation judge must."""
        return self.entropy >= MIN_ENTROPY and self.max_probability <= MAX_PROBABILITY


@dataclass(frozen=True, slots=True)
class JudgeCheck:
    """A judge measured: test accuracy [0, 1], reliability on test digits, and the controls."""

    accuracy: float
    reliability: Reliability
    controls: tuple[Control, ...]

    @property
    def failures(self) -> tuple[str, ...]:
        """What keeps it from being an evaluation judge, in words; empty if nothing does."""
        return tuple(
            f"{c.name}: entropy {c.entropy:.3f} (at least {MIN_ENTROPY}), "
            f"a class at {c.max_probability:.3f} (at most {MAX_PROBABILITY})"
            for c in self.controls
            if not c.uncertain
        )


def control_images(device: torch.device) -> dict[str, Tensor]:
    """The controls: name -> images (n, 784) in [0, 1], always the same ones.

    Not drawn by the code that makes training outliers (`core.outliers`), though two kinds are alike by definition.
    """
    generator = make_generator(device, 0, "controls")
    shape = (CONTROL_SAMPLES, PIXELS)
    normal = torch.randn(shape, generator=generator, device=device)
    return {
        "grey": torch.tensor(GREY_LEVELS, device=device)[:, None].expand(-1, PIXELS),
        "noise": torch.rand(shape, generator=generator, device=device),
        "gaussian": (0.5 + 0.25 * normal).clamp(0, 1),
    }


@torch.no_grad()
def judge_controls(judge: Judge, device: torch.device) -> tuple[Control, ...]:
    """What a judge says to each control."""
    controls = []
    for name, images in control_images(device).items():
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
def check_judge(judge: Judge, images: Tensor, labels: Tensor) -> JudgeCheck:
    """Measure a judge on test images (n, 784) with labels (n,) and on the controls."""
    log_probs = answers(judge, images)
    return JudgeCheck(
        accuracy=float((log_probs.argmax(dim=1) == labels).double().mean()),
        reliability=reliability(log_probs, labels),
        controls=judge_controls(judge, images.device),
    )


@torch.no_grad()
def answers(judge: Judge, images: Tensor, chunk: int = 1000) -> Tensor:
    """Log-probabilities (n, 10) of images (n, 784), a chunk at a time."""
    return torch.cat([judge.log_probs(part) for part in images.split(chunk)])


@torch.no_grad()
def features(judge: Judge, images: Tensor, chunk: int = 1000) -> Tensor:
    """Penultimate features (n, d) of images (n, 784), a chunk at a time."""
    return torch.cat([judge.embed(part) for part in images.split(chunk)])
