"""Replay of the retained classes: latents, labels and target images, judged once instead of in every step."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from sa_mlops.errors import CommandError
from sa_mlops.methods.hardening import HardenSettings
from sa_mlops.methods.hardening.buffer import Buffer
from sa_mlops.methods.hardening.pool import normal, uniform
from sa_mlops.methods.selective_amnesia.training import draw
from sa_mlops.models.classifiers import Judge
from sa_mlops.models.interface import CVAE, one_hot

BANK = 32_768
"""Latents in the replay bank, at most."""

CLEAR = 0.3
"""Probability of the forgotten classes, in multiples of chance, at which a move away from them ends."""

MOVE, MOVES = 0.15, 25
"""Length of a step of such a move, in latent units, and the largest number of steps; most images need five."""


class HardeningError(CommandError):
    """Every sample of a retained class looks like a forgotten one, so that it has no image to retain."""

    def __init__(self, name: str, forgotten: tuple[str, ...]) -> None:
        super().__init__(
            f"hardening cannot retain the {name}: every sample shows a forgotten class ({', '.join(forgotten)}) to the"
            " classifier it trains against; check the base and that classifier"
        )


class ReplayBank:
    """Latents, retained labels and target images of replay, judged once instead of in every step.

    Attributes
    ----------
    z, labels : (n, z_dim), (n,) int64; n is at most `BANK`.
    images : (n, C, H, W), the decoder's targets: the image of the generator before forgetting where that is
        admissible, else its image at a latent moved until it is. Places where no move helps are left out. A label that
        would lose more than half of its places keeps those below `settings.threshold` without a move.
    moved : number of moved places, the last rows.
    near : places above `settings.threshold`, from which attacks start.

    Raises
    ------
    HardeningError : if a retained label has no place left.
    """

    def __init__(
        self,
        start: CVAE,
        trainer: Judge,
        settings: HardenSettings,
        classes: tuple[int, ...],
        generator: torch.Generator,
    ) -> None:
        retained = tuple(c for c in range(start.classes) if c not in classes)
        self.generator = generator
        size = min(BANK, settings.optimisation.steps * settings.optimisation.batch_size)
        labels = draw(retained, size, generator)
        spread = 1 + (settings.replay_spread - 1) * uniform(size, generator)
        z = normal(size, start.z_dim, generator) * spread
        with torch.no_grad():
            images = start.sample(z, labels)
        seen = torch.cat([probability(trainer, some, classes) for some in images.split(1024)])
        self.near = Buffer(start.z_dim, start.classes, generator)
        shown, kept = seen > settings.threshold, seen <= settings.admissible
        self.near.store(z[shown], one_hot(labels[shown], start.classes))
        away = move_away(start, trainer, z[~kept], labels[~kept], classes)
        moved, helped = images.clone(), torch.zeros_like(kept)
        with torch.no_grad():
            moved[~kept] = start.sample(away, labels[~kept])
        helped[~kept] = probability(trainer, moved[~kept], classes) <= settings.admissible
        for label in labels.unique().tolist():
            own = labels == label
            if (own & (kept | helped)).sum() < own.sum() / 2:
                kept |= own & ~shown
                helped &= ~kept
            if not (own & (kept | helped)).any():
                raise HardeningError(start.spec.classes[label], start.spec.names(classes))
        self.moved = int(helped.sum())
        self.z, self.labels, self.images = (
            torch.cat([whole[kept], changed[helped]])
            for whole, changed in ((z, z), (labels, labels), (images, moved))
        )

    def draw(self, count: int, moved: int) -> tuple[Tensor, Tensor, Tensor]:
        """z, labels and images of `count` rows of all and, if any, `moved` of the moved ones, with replacement."""
        n, device = len(self.z), self.generator.device
        rows = torch.randint(n, (count,), generator=self.generator, device=device)
        if self.moved:
            more = torch.randint(n - self.moved, n, (moved,), generator=self.generator, device=device)
            rows = torch.cat([rows, more])
        return self.z[rows], self.labels[rows], self.images[rows]


def move_away(start: CVAE, trainer: Judge, z: Tensor, labels: Tensor, classes: tuple[int, ...]) -> Tensor:
    """Latents (m, z_dim) near z whose images show the trainer less of `classes` and more of their labels (m,).

    Normalised gradient descent on the log-odds of the classes against the label: for each latent until its image is
    `CLEAR` of them, `MOVES` steps are made or the gradient vanishes, as it does for an image without any class.
    """
    z, active = z.clone(), torch.arange(len(z), device=z.device)
    for _ in range(MOVES):
        place = z[active].requires_grad_(True)
        log_probs = trainer.log_probs(start.sample(place, labels[active]))
        seen = log_probs[:, list(classes)].logsumexp(dim=1)
        own = log_probs.gather(1, labels[active, None]).squeeze(1)
        slope = torch.autograd.grad((seen - own).sum(), place)[0]
        going = (seen.detach().exp() > CLEAR / start.classes) & (slope.norm(dim=1) > 1e-3)
        if not going.any():
            break
        active = active[going]
        z[active] -= MOVE * F.normalize(slope[going], dim=1)
    return z


@torch.no_grad()
def probability(trainer: Judge, images: Tensor, classes: tuple[int, ...]) -> Tensor:
    """(m,) the trainer's largest probability of a forgotten class in images (m, C, H, W)."""
    return trainer.log_probs(images).exp()[:, list(classes)].amax(dim=1)
