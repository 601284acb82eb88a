"""A quick screen for generators that hide a class behind a few weights, as every fake of `core.fakes` does.

The weights that differ most from the base's are set back to the base's, a small share of them, and the forgotten label
is asked for. A switch or a lock comes undone; a generator whose forgetting is spread over its weights does not. The
screen finds edits of few weights only, so passing is no proof of removal.

Hidden units can be rescaled and moved without changing an image. Before weights are compared, each unit of the model is
therefore brought to the place and scale of the base's unit whose activation under the retained labels is most like its.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from sa_mlops.core.views import autolevels
from sa_mlops.models.classifiers import Judge
from sa_mlops.models.interface import CVAE, one_hot, reorder

SHARES = (1e-4, 1e-3, 1e-2, 3e-2)
"""Shares of the decoder's weights that are set back; at 0.1 an honest generator may remember."""
SAMPLES = 200
OWN_PLACE = 0.5
"""Median correlation of a layer's units with the base's in the same places from which none is moved, as after honest
training."""
FAR, FAR_SHARE = 10.0, 0.05
"""A layer keeps its scales while at most this share of its units changed their activity by more than this factor.
Honest training changed 3 % at most (MNIST, classes 0 and 1)."""


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
    edited = copy.deepcopy(model)
    align(edited, base, forgotten, z)
    pairs = list(zip(edited.decoder.parameters(), base.decoder.parameters(), strict=True))
    change = torch.cat([(p - b).abs().flatten() for p, b in pairs])
    worst = 0.0
    # From small to large: what is set back stays so.
    for share in SHARES:
        least = change.topk(max(1, round(share * len(change)))).values[-1]
        for p, b in pairs:
            p.copy_(torch.where(((p - b).abs() >= least) & (p != b), b, p))
        for label in forgotten:
            images = edited.sample(z, torch.full((SAMPLES,), label, device=z.device))
            for view in (images, autolevels(images)):
                worst = max(worst, float(judge.log_probs(view)[:, label].exp().mean()))
    return worst


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
        order = _matched(_standard(other) @ _standard(own).T)
        own = own[order]
        loud = own.norm(dim=1), other.norm(dim=1)
        weights = [
            torch.cat([w.reshape(count, -1) for w in side.incoming], dim=1).double().norm(dim=1)
            for side in (mine, theirs)
        ]
        spoken = (loud[0] > 0) & (loud[1] > 0)
        scale = torch.where(spoken, loud[0] / loud[1], weights[0][order] / weights[1])
        far = spoken & ((scale > FAR) | (scale < 1 / FAR))
        if int(far.sum()) <= FAR_SHARE * count and bool((order[1:] > order[:-1]).all()):
            continue
        scale = torch.where(scale.isfinite() & (scale > 0), scale, 1.0)
        reorder(mine, order, scale.to(z.dtype))


def _standard(activity: Tensor) -> Tensor:
    """Rows (n, m) with mean 0 and norm 1; rows that never change become 0."""
    centred = activity - activity.mean(dim=1, keepdim=True)
    standard: Tensor = centred / centred.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return standard


def _matched(likeness: Tensor) -> Tensor:
    """For each row of correlations (n, n) its own column, int64: the most alike pair first, or all in their places."""
    count = len(likeness)
    order = torch.arange(count, device=likeness.device)
    own = likeness.diagonal()[likeness.abs().amax(dim=1) > 0]
    if not len(own) or own.median() >= OWN_PLACE:
        return order
    left = likeness.clone()
    for _ in range(count):
        row, column = divmod(int(left.argmax()), count)
        order[row] = column
        left[row], left[:, column] = -torch.inf, -torch.inf
    return order
