"""A quick screen for generators that hide a class behind a few weights, as every fake of `core.fakes` does.

The few weights whose change from the base matters most are set back to the base's, and the forgotten class is sampled.
This undoes a switch or a lock, but not forgetting that is spread over many weights. The screen finds edits of few
weights only, so passing it does not prove removal.

A change matters by its size times the root mean square of its input (Sun et al., 2023, arXiv:2306.11695, where that
product chooses weights to prune), so that outgoing weights of a silent unit do not count. Hidden units can be rescaled
and moved without changing an image, so each is first brought to the place and scale of a unit of the base, if its
weights come closer to the base's by it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from sa_mlops.core.views import autolevels
from sa_mlops.models.classifiers import Judge
from sa_mlops.models.interface import CVAE, Units, one_hot, reorder

SHARES = (1e-4, 1e-3, 1e-2)
"""Shares of the decoder's weights that are set back; at 0.03 a distilled generator remembers."""
SAMPLES = 200
DRAWS = 4_000
"""Latents at which changes are weighed."""
RIDGE = 1e-9
"""Of the regression on inputs of mean square 1."""
ALIGNED = 200
"""Latents at which units are compared."""
KINDS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
OWN_PLACE = 0.5
"""Correlation with the base's unit in the same place from which a unit need not be moved."""


@torch.no_grad()
def screen(
    model: CVAE, base: CVAE, judge: Judge, forgotten: tuple[int, ...], generator: torch.Generator
) -> float:
    """The largest mean probability of a forgotten class over `SHARES` and both views, in [0, 1].

    Parameters
    ----------
    base : the generator that the model was made from, of the same net.
    judge : calibrated, so that images without a class get 1/K.
    generator : source of the latents, on the model's device.
    """
    z = torch.randn(SAMPLES, model.z_dim, generator=generator, device=generator.device)
    worst = 0.0
    weighed = torch.randn(DRAWS, model.z_dim, generator=generator, device=generator.device)
    for edited in set_back(model, base, forgotten, weighed):
        for label in forgotten:
            images = edited.sample(z, torch.full((SAMPLES,), label, device=z.device))
            for view in (images, autolevels(images)):
                worst = max(worst, float(judge.log_probs(view)[:, label].exp().mean()))
    return worst


@torch.no_grad()
def set_back(model: CVAE, base: CVAE, forgotten: tuple[int, ...], z: Tensor) -> Iterator[CVAE]:
    """The model with each of `SHARES` of its decoder's weights set back, one net that changes.

    Parameters
    ----------
    z : (n, z_dim) latents at which changes are weighed.
    """
    edited = copy.deepcopy(model)
    align(edited, base, forgotten, z[:ALIGNED])
    condition = _conditions(model.classes, forgotten, z)
    grams = _grams(edited, z, condition)
    _simplify(edited, base, grams)
    effects = _effects(edited, base, grams, z[:ALIGNED], condition[:ALIGNED])
    every = torch.cat([effect.flatten() for effect in effects])
    for share in SHARES:
        least = every.topk(max(1, round(share * len(every)))).values[-1]
        # Shares ascend, so that weights that were set back stay so.
        for p, b, effect in zip(edited.decoder.parameters(), base.decoder.parameters(), effects, strict=True):
            p.copy_(torch.where((effect >= least) & (p != b), b, p))
        yield edited


def _conditions(classes: int, forgotten: tuple[int, ...], z: Tensor) -> Tensor:
    """(n, K): half of the latents are asked for forgotten classes and half for retained ones."""
    kept = [c for c in range(classes) if c not in forgotten]
    labels = [part[i // 2 % len(part)] for i in range(len(z)) for part in [(forgotten, kept)[i % 2]]]
    return one_hot(torch.tensor(labels, device=z.device), classes)


def _grams(model: CVAE, z: Tensor, condition: Tensor) -> dict[nn.Module, Tensor]:
    """Layer of the decoder -> mean products (d + 1, d + 1) of its inputs, or channels; the last input is 1."""
    grams: dict[nn.Module, Tensor] = {}
    parts = list(zip(z.split(ALIGNED), condition.split(ALIGNED), strict=True))

    def read(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        if isinstance(layer, KINDS):
            x = given[0].transpose(0, 1).flatten(1).double()
            x = torch.cat([x, torch.ones_like(x[:1])])
            grams[layer] = grams.get(layer, 0.0) + x @ x.T / (x.shape[1] * len(parts))

    handles = [layer.register_forward_pre_hook(read) for layer in model.decoder.modules()]
    for part in parts:
        model.decode(*part)
    for handle in handles:
        handle.remove()
    return grams


def _simplify(model: CVAE, base: CVAE, grams: Mapping[nn.Module, Tensor]) -> None:
    """Replace each layer's change by the smallest that has the same outputs, by ridge regression; in place.

    Weights that cancel each other, or that multiply inputs which are always 0, become the base's.
    """
    for layer, other in zip(model.decoder.modules(), base.decoder.modules(), strict=True):
        if not isinstance(layer, KINDS) or not isinstance(other, KINDS):
            continue
        mine, theirs = ([_by_input(m, m.weight)] for m in (layer, other))
        gram = grams[layer][:-1, :-1]
        biases = [b[None] for m in (layer, other) if (b := m.bias) is not None]
        if isinstance(layer, nn.Linear) and len(biases) == 2:
            gram = grams[layer]
            mine, theirs = [*mine, biases[0]], [*theirs, biases[1]]
        wanted = torch.cat([b.double().flatten(1) for b in theirs])
        change = torch.cat([p.double().flatten(1) for p in mine]) - wanted
        # Per unit of loudness, so that a quiet unit with large weights keeps what it does.
        loud = gram.diagonal().sqrt().clamp(min=1e-12)[:, None]
        gram = gram / loud / loud.T
        ridge = RIDGE * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
        smallest = wanted + torch.linalg.solve(gram + ridge, gram @ (change * loud)) / loud
        for p, rows in zip(mine, smallest.split([len(p) for p in mine]), strict=True):
            p.copy_(rows.view(p.shape))


def _by_input(layer: nn.Module, weight: Tensor) -> Tensor:
    """A view of a layer's weight whose first dimension is that of its inputs."""
    return weight if isinstance(layer, nn.ConvTranspose2d) else weight.transpose(0, 1)


def _effects(
    model: CVAE, base: CVAE, grams: Mapping[nn.Module, Tensor], z: Tensor, condition: Tensor
) -> list[Tensor]:
    """Of each parameter of the decoder: its change from the base's times the root mean square of its input.

    No change of a unit's incoming weights matters more than the unit does, in the model and in the base together.
    """
    effects = copy.deepcopy(model)
    for e, b in zip(effects.decoder.parameters(), base.decoder.parameters(), strict=True):
        e.copy_((e - b).abs())
    for layer, measured in zip(model.decoder.modules(), effects.decoder.modules(), strict=True):
        if isinstance(measured, KINDS):
            weight = _by_input(measured, measured.weight)
            loudness = grams[layer].diagonal()[:-1].sqrt().to(weight.dtype)
            weight.mul_(loudness.view(-1, *[1] * (weight.dim() - 1)))
    activities = zip(model.hidden(z, condition), base.hidden(z, condition), strict=True)
    # Not strict: a net may not tell its units.
    for unit, hidden in zip(effects.units(), activities, strict=False):
        count = len(unit.outgoing[0])
        most = sum(x.unflatten(1, (count, -1)).square().mean(dim=(0, 2)).sqrt() for x in hidden)
        for effect in unit.incoming:
            effect.copy_(torch.minimum(effect, most.view(-1, *[1] * (effect.dim() - 1))))
    return list(effects.decoder.parameters())


@torch.no_grad()
def align(model: CVAE, base: CVAE, forgotten: tuple[int, ...], z: Tensor) -> None:
    """Reorder and rescale the hidden units of a model, in place, to be those of the base under the retained labels.

    The model draws the same images as before. Units that are silent in either net are scaled by their incoming weights.

    Parameters
    ----------
    z : (n, z_dim) latents.
    """
    retained = torch.tensor([c for c in range(model.classes) if c not in forgotten], device=z.device)
    condition = one_hot(retained.repeat(len(z))[: len(z)], model.classes)
    for i, (mine, theirs) in enumerate(zip(model.units(), base.units(), strict=True)):
        count = len(mine.outgoing[0])
        # Measured anew for each layer; a kernel's values at all places are samples of its channel.
        own, other = (
            net.hidden(z, condition)[i].unflatten(1, (count, -1)).transpose(0, 1).flatten(1).double()
            for net in (model, base)
        )
        likeness = _standard(other) @ _standard(own).T
        stay = torch.arange(count, device=z.device)
        strangers = likeness.diagonal() < OWN_PLACE
        found = []
        for order in (stay, _matched(likeness, strangers), _matched(likeness, torch.ones_like(strangers))):
            scale = _scale(mine, theirs, own[order].norm(dim=1), other.norm(dim=1), order)
            kept = _distance(mine, theirs, order, torch.ones_like(scale))
            scaled = _distance(mine, theirs, order, scale)
            scale = torch.where(scaled < kept, scale, 1.0)
            found.append((float(torch.minimum(scaled, kept).sum()), order, scale))
        _, order, scale = min(found, key=lambda candidate: candidate[0])
        reorder(mine, order, scale.to(z.dtype))


def _standard(activity: Tensor) -> Tensor:
    """Rows (n, m) with mean 0 and norm 1; rows that never change become 0."""
    centred = activity - activity.mean(dim=1, keepdim=True)
    standard: Tensor = centred / centred.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return standard


def _matched(likeness: Tensor, moving: Tensor) -> Tensor:
    """For each row of correlations (n, n) a column, int64: of the moving ones (n,) bool the most alike pair first.

    Of equally alike pairs the first. Two that are each other's best become a pair whatever the others become.
    """
    order = torch.arange(len(likeness), device=likeness.device)
    rows = columns = moving.nonzero().flatten()
    left = likeness[rows][:, columns]
    while len(rows):
        best = left.argmax(dim=1)
        paired = left.argmax(dim=0)[best] == torch.arange(len(rows), device=rows.device)
        order[rows[paired]] = columns[best[paired]]
        free = torch.ones_like(paired)
        free[best[paired]] = False
        left, rows, columns = left[~paired][:, free], rows[~paired], columns[free]
    return order


def _rows(weights: tuple[Tensor, ...]) -> Tensor:
    """A unit's weights in one row: (n, m)."""
    return torch.cat([w.reshape(len(w), -1) for w in weights], dim=1).double()


def _scale(mine: Units, theirs: Units, own: Tensor, other: Tensor, order: Tensor) -> Tensor:
    """Factors (n,) by which reordered units are larger than the base's: by norms of activity, or of weights."""
    weights = _rows(mine.incoming).norm(dim=1)[order] / _rows(theirs.incoming).norm(dim=1)
    scale = torch.where((own > 0) & (other > 0), own / other, weights)
    return torch.where(scale.isfinite() & (scale > 0), scale, 1.0)


def _distance(mine: Units, theirs: Units, order: Tensor, scale: Tensor) -> Tensor:
    """(n,) how far each reordered and rescaled unit is from the base's: median change over median incoming weight.

    A few weights that changed much, as a switch's, do not count. Outgoing ones lead to units still to be moved.
    """
    wanted = _rows(theirs.incoming)
    change = _rows(mine.incoming)[order] / scale[:, None] - wanted
    return change.abs().median(dim=1).values / wanted.abs().median(dim=1).values.clamp(min=1e-12)
