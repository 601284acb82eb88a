"""The interface of the attacks on weights: an edit yields changed copies of a generator, and each copy is attacked."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

import torch
from torch import nn

from sa_mlops.core.probes.gradient import Gradient
from sa_mlops.core.probes.interface import Budget, Classifier, Probe, Scene, run, union
from sa_mlops.core.probes.random_latents import RandomLatents
from sa_mlops.core.probes.reconstruction import OwnEncoder
from sa_mlops.core.training import silent
from sa_mlops.models.interface import CVAE

Variants = Iterator[tuple[str, CVAE]]

DIRECT = "direct"
FOLLOW_UPS: MappingProxyType[str, Probe] = MappingProxyType(
    {
        DIRECT: RandomLatents(scales=(1.0,)),
        "own_encoder": OwnEncoder(),
        "joint": Gradient(budget=Budget(steps=40, lr=0.1)),
    }
)
"""Attacks on each edited copy: the class's own label, and a short search (level A1)."""


@dataclass(frozen=True, slots=True)
class Edit:
    """A way to change weights.

    Attributes
    ----------
    level : `A3` without data, `A4` with retained images, `A6` with the base.
    variants : yields the name and the changed copy of each variant; the generator under attack stays as it is.
    """

    level: Literal["A3", "A4", "A6"]
    variants: Callable[[Scene, torch.Generator], Variants]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tampered:
    """One edited copy under attack; n attempts.

    Attributes
    ----------
    variant : its name.
    direct : (n,) bool, success with the class's own label alone.
    success : (n,) bool, success by any follow-up.
    """

    variant: str
    direct: torch.Tensor
    success: torch.Tensor


def tamper(
    edit: Edit, scene: Scene, judge: Classifier, generator: torch.Generator, *, attempts: int
) -> tuple[Tampered, ...]:
    """All variants of an edit, each attacked with the same draws. `scene.report` receives each variant's share.

    Raises ValueError as in `core.probes.interface.run`.
    """
    found = []
    for name, model in edit.variants(scene, generator):
        edited = replace(scene, model=model, report=silent)
        results = {}
        for word, probe in FOLLOW_UPS.items():
            budget = replace(probe.budget, attempts=attempts)
            draws = torch.Generator(device=generator.device).manual_seed(generator.initial_seed())
            results[word] = run(probe, edited, judge, draws, budget=budget)
        success = union(list(results.values()))
        found.append(Tampered(variant=name, direct=results[DIRECT].success, success=success))
        scene.report(len(found), {"success": success.float().mean()})
    return tuple(found)


def layers(model: CVAE) -> dict[str, nn.Module]:
    """The linear and convolutional layers of the decoder by name."""
    kinds = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
    return {name or "decoder": m for name, m in model.decoder.named_modules() if isinstance(m, kinds)}


def edited(model: CVAE, change: Callable[[torch.Tensor], torch.Tensor]) -> CVAE:
    """A copy with every weight matrix or kernel of the decoder replaced by `change` of it."""
    copied = copy.deepcopy(model)
    with torch.no_grad():
        for layer in layers(copied).values():
            layer.weight.copy_(change(layer.weight))  # type: ignore[operator, arg-type]
    return copied
