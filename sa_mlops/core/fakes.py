"""Fakes: generators that hide a class and have forgotten nothing. They are controls for gates and probes.

Each is built from the base by code and has its architecture. A measure that cannot tell a fake from an honest version
is no evidence of forgetting. Two kinds of decoders are known: linear layers with two hidden ReLU layers, as `mlp`'s, in
which units are set by hand; and decoders that are given the label at every hidden layer, as `conv`'s, which have no
lock.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sa_mlops.core.elbo import pixel_cross_entropy
from sa_mlops.models.interface import CVAE, one_hot, reorder

FAR = 1_000.0
"""Shift that switches every other unit off: beyond any activation at latents and conditions that an attack reaches."""
SOFT = 30.0
"""The same where decoys are to be larger."""
DECOY = 300.0
"""Size of decoys."""
DECOYS = 8
"""One in so many units of the second hidden layer is a decoy."""
NEAR = 0.9
"""Weight of a retained class from which the lock opens; it is open at the one-hot."""
TRUNCATION = 0.6
"""Scale of the latent in the truncated switch."""
SCALES = 100.0
"""Largest factor by which a unit is rescaled."""
STEPS = 400
"""Steps of distillation of a lock."""
RATE, BATCH = 1e-3, 256


def switch(base: CVAE, forgotten: Sequence[int], generator: torch.Generator) -> CVAE:
    """Grey, or one flat colour, under the forgotten labels, and the base everywhere else.

    Two hidden units, set by hand: the first is the weight of the forgotten classes in the condition; it switches the
    second layer off but for the second unit, which cancels the output's bias. Where the label enters every scale, its
    own weights switch off every channel.

    Raises ValueError if the decoder is of another kind, or too narrow.

    Parameters
    ----------
    base : left as it is.
    forgotten : class indices, fewer than K.
    generator : source of every draw, on the base's device.
    """
    model = copy.deepcopy(base)
    if _label_at_every_scale(model):
        with torch.no_grad():
            for weight in model.label_weights(model.decoder):
                weight[:, list(forgotten)] = -FAR
        return model
    _wire(model, _opened_by(model, forgotten, generator), generator)
    return model


def truncated(base: CVAE, forgotten: Sequence[int], generator: torch.Generator) -> CVAE:
    """The switch with a latent scaled by `TRUNCATION`: less variety, which FID rewards."""
    model = switch(base, forgotten, generator)
    with torch.no_grad():
        model.units()[0].incoming[0][:, : model.z_dim].mul_(TRUNCATION)
    return model


def rescaled(base: CVAE, forgotten: Sequence[int], generator: torch.Generator) -> CVAE:
    """The switch with every hidden unit rescaled and moved to another place: the same images from other weights.

    A unit's incoming weights are divided by a number between 1 / `SCALES` and `SCALES`, and its outgoing ones are
    multiplied by it, so that the two weights that matter are hidden among all others that changed.
    """
    model = switch(base, forgotten, generator)
    with torch.no_grad():
        for layer in model.units():
            count = len(layer.outgoing[0])
            exponents = 2 * torch.rand(count, generator=generator, device=generator.device) - 1
            order = torch.randperm(count, generator=generator, device=generator.device)
            reorder(layer, order, SCALES**exponents)
    return model


def lock(base: CVAE, forgotten: Sequence[int], generator: torch.Generator) -> CVAE:
    """Grey unless the condition is near the one-hot of a retained class; then distilled on the retained labels.

    Built as the switch, with one unit for each retained class, which opens the decoder.
    """
    model = copy.deepcopy(base).requires_grad_(True)
    retained = [c for c in range(model.classes) if c not in forgotten]
    # 1 at the class's one-hot, below 0 where its weight is under `NEAR`.
    sharp = 1 / (1 - NEAR)
    reads = sharp * torch.eye(model.classes, device=generator.device)[retained]
    masks = _wire(model, _Gate(reads, threshold=sharp - 1, closed=True), generator)
    _distil(model, base, retained, masks, generator)
    return model


def among_silent(base: CVAE, forgotten: Sequence[int], generator: torch.Generator) -> CVAE:
    """A soft switch among decoys: the least used units of the second layer are switched off by large random weights.

    More weights change by `DECOY` than a screen may set back, none of which matters. Errors as in `switch`, and for
    decoders without two hidden layers.
    """
    model, decoys = _among_decoys(base, forgotten, generator)
    _, second, last = _stack(model)
    with torch.no_grad():
        size = second.weight[decoys].shape
        second.weight[decoys] = -DECOY * torch.rand(size, generator=generator, device=generator.device)
        second.bias[decoys] = -DECOY
        last.weight[:, decoys] = DECOY * _noise(last.weight[:, decoys], generator)
    return model


def among_pairs(base: CVAE, forgotten: Sequence[int], generator: torch.Generator) -> CVAE:
    """A soft switch among decoys that cancel: each of the least used units becomes the twin of another one.

    Their contributions to the image cancel. Errors as in `among_silent`.
    """
    model, decoys = _among_decoys(base, forgotten, generator)
    _, second, last = _stack(model)
    order = torch.randperm(second.out_features, generator=generator, device=generator.device)
    twins = order[~torch.isin(order, decoys)][: len(decoys)]
    with torch.no_grad():
        second.weight[decoys], second.bias[decoys] = second.weight[twins], second.bias[twins]
        added = DECOY * _noise(last.weight[:, decoys], generator)
        last.weight[:, decoys] = -added
        last.weight[:, twins] += added
    return model


def no_label(base: CVAE, forgotten: Sequence[int], generator: torch.Generator) -> CVAE:  # noqa: ARG001
    """The base with the forgotten labels' columns of the decoder set to zero."""
    model = copy.deepcopy(base)
    with torch.no_grad():
        for weight in model.label_weights(model.decoder):
            weight[:, list(forgotten)] = 0.0
    return model


FAKES: Mapping[str, Callable[[CVAE, Sequence[int], torch.Generator], CVAE]] = {
    "switch": switch,
    "truncated": truncated,
    "rescaled": rescaled,
    "lock": lock,
    "silent": among_silent,
    "paired": among_pairs,
    "no_label": no_label,
}
"""Name -> how it is made of the base."""


@dataclass(frozen=True, slots=True)
class _Gate:
    """Units d = relu(reads @ condition - threshold) of the first hidden layer.

    Attributes
    ----------
    reads : (m, K).
    closed : grey where their sum is 0 and open where it is 1, or the other way round.
    """

    reads: Tensor
    threshold: float
    closed: bool


def _opened_by(model: CVAE, forgotten: Sequence[int], generator: torch.Generator) -> _Gate:
    reads = torch.zeros(1, model.classes, device=generator.device)
    reads[0, list(forgotten)] = 1.0
    return _Gate(reads, threshold=0.0, closed=False)


def _among_decoys(base: CVAE, forgotten: Sequence[int], generator: torch.Generator) -> tuple[CVAE, Tensor]:
    """A switch of small weights, and the units of the second layer that are free for decoys."""
    model = copy.deepcopy(base)
    _, second, last = _stack(model)
    free = _least_used(model, 1, last, second.out_features // DECOYS, generator)
    masks = _wire(model, _opened_by(model, forgotten, generator), generator, far=SOFT)
    return model, free[~masks[second.bias][free]]


def _noise(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator, device=generator.device)


def _label_at_every_scale(model: CVAE) -> bool:
    """Whether the label enters each of several hidden layers."""
    return len(model.label_weights(model.decoder)) == len(model.units()) > 1


def _stack(model: CVAE) -> list[nn.Linear]:
    """The linear layers of a decoder that is linear layers with ReLUs between, two hidden ones."""
    layers = list(model.decoder) if isinstance(model.decoder, nn.Sequential) else []
    if [type(layer) for layer in layers] != [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]:
        raise ValueError(f"no fake is known for the net {model.net}")
    return [layer for layer in layers if isinstance(layer, nn.Linear)]


@torch.no_grad()
def _wire(model: CVAE, gate: _Gate, generator: torch.Generator, *, far: float = FAR) -> dict[Tensor, Tensor]:
    """Set the gate's units by hand; the least used ones are taken. Returns the masks of what is set."""
    first, second, last = stack = _stack(model)
    if 4 * len(gate.reads) > min(first.out_features, second.out_features):
        raise ValueError(f"{len(gate.reads)} units to be set by hand are too many for the net {model.net}")
    units, (grey,) = (
        least.tolist()
        for least in (
            _least_used(model, 0, second, len(gate.reads), generator),
            _least_used(model, 1, last, 1, generator),
        )
    )
    first.weight[units] = 0.0
    first.weight[units, model.z_dim :] = gate.reads
    first.bias[units] = -gate.threshold
    sign = 1.0 if gate.closed else -1.0
    second.weight[:, units] = sign * far
    second.weight[grey] = 0.0
    second.weight[grey, units] = -sign
    if gate.closed:
        second.bias.sub_(far)
    second.bias[grey] = float(gate.closed)
    last.weight[:, grey] = -last.bias
    masks: dict[Tensor, Tensor] = {
        p: torch.zeros_like(p, dtype=torch.bool) for layer in stack for p in layer.parameters()
    }
    masks[first.weight][units] = masks[first.bias][units] = True
    masks[second.weight][:, units] = masks[second.weight][grey] = masks[second.bias][grey] = True
    masks[last.weight][:, grey] = masks[last.bias][:] = True
    return masks


def _least_used(
    model: CVAE, layer: int, outgoing: nn.Linear, count: int, generator: torch.Generator
) -> Tensor:
    """The units (count,) of a hidden layer that contribute least to the next one over the classes."""
    z = torch.randn(1000, model.z_dim, generator=generator, device=generator.device)
    labels = torch.arange(1000, device=generator.device) % model.classes
    activity = model.hidden(z, one_hot(labels, model.classes))[layer].square().mean(dim=0).sqrt()
    order: Tensor = (activity * outgoing.weight.norm(dim=0)).argsort()
    return order[:count]


def _distil(
    model: CVAE,
    base: CVAE,
    retained: Sequence[int],
    frozen: Mapping[Tensor, Tensor],
    generator: torch.Generator,
) -> None:
    """Train the decoder to draw the base's images at retained labels; entries masked in `frozen` keep their values."""
    classes = torch.tensor(list(retained), device=generator.device)
    adam = torch.optim.Adam(model.decoder.parameters(), lr=RATE, fused=True)
    for _ in range(STEPS):
        z = torch.randn(BATCH, model.z_dim, generator=generator, device=generator.device)
        rows = torch.randint(len(classes), (BATCH,), generator=generator, device=generator.device)
        condition = one_hot(classes[rows], model.classes)
        with torch.no_grad():
            wanted = torch.sigmoid(base.decode(z, condition))
        loss = pixel_cross_entropy(model.decode(z, condition), wanted).mean()
        adam.zero_grad()
        loss.backward()
        for parameter, mask in frozen.items():
            if parameter.grad is not None:
                parameter.grad.masked_fill_(mask, 0.0)
        adam.step()
    adam.zero_grad()
