"""Hidden units of the decoder that the forgotten label alone silences or drives: shifted, or switched off."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from sa_mlops.core.probes.interface import Scene
from sa_mlops.core.probes.weights.interface import Variants, layers
from sa_mlops.models.interface import CVAE, one_hot

LATENTS = 64
UNITS = 6
"""Units of a layer that are switched off, one at a time."""


@torch.no_grad()
def dead_units(scene: Scene, generator: torch.Generator) -> Variants:
    """Units that the label silences: their biases raised to the mean input under retained labels; each layer, then all.

    A unit counts as silenced if its input is above zero for no latent under the label and for some under others.
    """
    names = list(_inputs(scene.model, scene, generator)[0])
    for chosen in (*([name] for name in names), names):
        model = copy.deepcopy(scene.model)
        for name in chosen:
            # Measured again for each layer: raised units of earlier layers change the later ones.
            own, others = (found[name] for found in _inputs(model, scene, generator))
            silent = (own.amax(dim=0) <= 0) & (others.amax(dim=0) > 0)
            bias = layers(model)[name].bias
            assert isinstance(bias, nn.Parameter)
            bias.add_(torch.where(silent, others.mean(dim=0) - own.mean(dim=0), 0.0))
        yield "all layers" if chosen is names else chosen[0], model


@torch.no_grad()
def ablate(scene: Scene, generator: torch.Generator) -> Variants:
    """In each layer the units whose activation differs most between the label and the retained ones, off one by one.

    Differences are relative to the spread under the label, so that a unit that is constant there comes first.
    """
    own, others = _inputs(scene.model, scene, generator)
    for name, values in own.items():
        mine, theirs = values.relu(), others[name].relu()
        spread = mine.std(dim=0) + 0.01 * mine.std().clamp(min=1e-6)
        order = ((mine.mean(dim=0) - theirs.mean(dim=0)).abs() / spread).argsort(descending=True)
        for unit in order[:UNITS].tolist():
            model = copy.deepcopy(scene.model)
            layer = layers(model)[name]
            weight, bias = layer.weight, layer.bias
            assert isinstance(weight, nn.Parameter)
            assert isinstance(bias, nn.Parameter)
            weight.select(1 if isinstance(layer, nn.ConvTranspose2d) else 0, unit).zero_()
            bias[unit] = 0.0
            yield f"{name} unit {unit}", model


def _inputs(
    model: CVAE, scene: Scene, generator: torch.Generator
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Outputs (n, units) of each layer with a bias but the last, under the label and under the retained labels.

    Kernels' outputs count a place as a sample. The latents are the same at each call.
    """
    draws = torch.Generator(device=generator.device).manual_seed(generator.initial_seed())
    z = torch.randn(LATENTS, model.z_dim, generator=draws, device=generator.device)
    own = torch.full((LATENTS,), scene.target, device=z.device)
    others = torch.tensor(scene.retained, device=z.device).repeat(LATENTS)[:LATENTS]
    found: list[dict[str, Tensor]] = []
    for labels in (own, others):
        seen: dict[str, Tensor] = {}
        handles = []
        for name, layer in layers(model).items():
            if layer is model.last_layer() or layer.bias is None:
                continue

            def keep(
                _: nn.Module, __: Any, output: Tensor, name: str = name, seen: dict[str, Tensor] = seen
            ) -> None:
                seen[name] = output.movedim(1, -1).flatten(0, -2)

            handles.append(layer.register_forward_hook(keep))
        model.decode(z, one_hot(labels, model.classes))
        for handle in handles:
            handle.remove()
        found.append(seen)
    return found[0], found[1]
