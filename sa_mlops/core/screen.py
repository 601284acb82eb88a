"""A quick screen for generators that hide a class behind a few weights, as every fake of `core.fakes` does.

The weights that differ most from the base's are set back to the base's, a small share of them, and the forgotten label
is asked for. A switch or a lock comes undone; a generator whose forgetting is spread over its weights does not. The
screen finds edits of few weights only. A fake that also rescales its hidden units would escape it, so passing is no
proof of removal.
"""

from __future__ import annotations

import copy

import torch

from sa_mlops.core.views import autolevels
from sa_mlops.models.classifiers import Judge
from sa_mlops.models.interface import CVAE

SHARES = (1e-4, 1e-3, 1e-2, 3e-2)
"""Shares of the decoder's weights that are set back; at 0.1 an honest generator may remember."""
SAMPLES = 200


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
