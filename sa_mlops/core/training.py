"""Training loops of a generator and of a judge, from scratch."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sa_mlops.core.elbo import negative_elbo
from sa_mlops.core.outliers import KINDS, kinds_of, outliers
from sa_mlops.datasets.spec import DataSpec, Images
from sa_mlops.errors import CommandError
from sa_mlops.models.classifiers import Judge, make_judge
from sa_mlops.models.interface import CVAE, make_net
from sa_mlops.settings import BaseSettings, JudgeSettings, Optimisation

Report = Callable[[int, Mapping[str, Tensor]], None]
"""report(step, terms): called after every step with scalar terms on the device. Reading one is a host sync."""


def silent(step: int, terms: Mapping[str, Tensor]) -> None:
    """Report nothing."""


class NotFiniteError(CommandError):
    """A loss term became NaN or infinite."""

    def __init__(self, step: int, term: str) -> None:
        super().__init__(f"{term} is not finite at step {step}")
        self.step = step
        self.term = term


class Watch:
    """A report that also records, on the device, the first step at which each term was not finite.

    The record is read when the inner report finds a term that is not finite, or in `check`. The error names the first
    step and term, which may lie many steps before the report that noticed it.
    """

    def __init__(self, report: Report) -> None:
        self.report = report
        self.names: tuple[str, ...] = ()
        self.since = torch.empty(0, dtype=torch.int64)

    def __call__(self, step: int, terms: Mapping[str, Tensor]) -> None:
        """Record a step."""
        lost = ~torch.stack([value.detach() for value in terms.values()]).isfinite()
        if not self.names:
            self.names, self.since = tuple(terms), torch.zeros_like(lost, dtype=torch.int64)
        self.since = torch.where(lost & (self.since == 0), step, self.since)
        try:
            self.report(step, terms)
        except NotFiniteError:
            self.check()
            raise

    def check(self) -> None:
        """Raise NotFiniteError if a term was not finite at any step. This is a host sync."""
        lost = [(step, i) for i, step in enumerate(self.since.tolist()) if step]
        if lost:
            step, i = min(lost)
            raise NotFiniteError(step, self.names[i])


class Adam(torch.optim.Adam):
    """Adam without PyTorch's compiler.

    Otherwise the first step imports `torch._dynamo`, which takes a second and 180 MB; its place in these methods is to
    tell the compiler to leave them alone.
    """

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with their options."""
        inspect.unwrap(torch.optim.Adam.add_param_group)(self, param_group)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take one step."""
        inspect.unwrap(torch.optim.Adam.step)(self, closure)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        inspect.unwrap(torch.optim.Adam.zero_grad)(self, set_to_none)


def make_optimiser(
    parameters: list[nn.Parameter], optimisation: Optimisation
) -> tuple[Adam, torch.optim.lr_scheduler.LRScheduler]:
    """Adam (fused: one kernel per step) with the schedule of the settings."""
    adam = Adam(parameters, lr=optimisation.lr, fused=True)
    if optimisation.schedule == "one_cycle" and optimisation.steps > 1:
        return adam, torch.optim.lr_scheduler.OneCycleLR(
            adam, optimisation.lr, total_steps=optimisation.steps
        )
    return adam, torch.optim.lr_scheduler.ConstantLR(adam, factor=1.0)


class Batches:
    """Endless batches of row numbers (b,) on the device: each epoch shuffled, without its incomplete last batch."""

    def __init__(self, rows: int, size: int, generator: torch.Generator) -> None:
        self.rows, self.size, self.generator = rows, min(size, rows), generator
        self.order = torch.empty(0, dtype=torch.int64, device=generator.device)

    def next(self) -> Tensor:
        """The next batch."""
        if len(self.order) < self.size:
            self.order = torch.randperm(self.rows, generator=self.generator, device=self.generator.device)
        batch, self.order = self.order[: self.size], self.order[self.size :]
        return batch


def train_generator(
    images: Images,
    labels: Tensor,
    spec: DataSpec,
    settings: BaseSettings,
    generator: torch.Generator,
    *,
    report: Report = silent,
    on_step: Callable[[int, CVAE], None] | None = None,
) -> CVAE:
    """A CVAE trained on the images whose class is in `settings.labels`.

    Raises NotFiniteError with the first step and term that were not finite; raised when a report reads the terms, or at
    the end.

    Parameters
    ----------
    images : (n, C, H, W) in [0, 1], on the device that trains.
    labels : (n,) int64, class indices.
    spec : classes and image shape.
    generator : source of batches and noise; its seed also decides the initial weights.
    report : receives `reconstruction`, `divergence` and their sum `loss`, nats per image.
    on_step : called with the step and the net after each step (sample grids).
    """
    chosen = torch.isin(labels, torch.tensor(settings.labels, device=labels.device)).nonzero().flatten()
    torch.manual_seed(generator.initial_seed())
    model = make_net(settings.net, spec, settings.z_dim).to(images.device)
    adam, schedule = make_optimiser(list(model.parameters()), settings.optimisation)
    batches = Batches(len(chosen), settings.optimisation.batch_size, generator)
    watch = Watch(report)
    for step in range(1, settings.optimisation.steps + 1):
        rows = chosen[batches.next()]
        noise = torch.randn(len(rows), settings.z_dim, generator=generator, device=images.device)
        terms = negative_elbo(model, images[rows], labels[rows], noise)
        loss = terms.total.sum()
        adam.zero_grad()
        loss.backward()
        adam.step()
        schedule.step()
        with torch.no_grad():
            means = {k: v.mean() for k, v in terms._asdict().items()} | {"loss": loss / len(rows)}
        watch(step, means)
        if on_step is not None:
            on_step(step, model)
    watch.check()
    return model


def check_finite(step: int, terms: Mapping[str, Tensor]) -> None:
    """Raise NotFiniteError if a term is NaN or infinite. This is a host sync."""
    for name, value in terms.items():
        if not math.isfinite(value.detach().item()):
            raise NotFiniteError(step, name)


OUTLIER_SHARE = 0.5
"""Outliers per image of a batch of grey images; colour images have more kinds, and as many of each."""
OUTLIER_WEIGHT = 16.0
"""Weight w of the outliers' loss for up to ten classes; beyond, it grows with their number, as the gradient shrinks."""
MIN_JUDGE_STEPS = 400


def train_judge(
    images: Images,
    labels: Tensor,
    spec: DataSpec,
    settings: JudgeSettings,
    generator: torch.Generator,
    *,
    effort: int = 1,
    report: Report = silent,
) -> Judge:
    """A classifier; a calibrated one is also shown images that show no class, whose target is uniform.

    Outlier exposure after Hendrycks et al. (2019): loss = CE(images) + w CE(uniform, outliers), with half a batch
    of outliers or more (see `core.outliers`) beside each batch of images. Images are shifted by up to 1/14 of their
    size.

    Parameters
    ----------
    images : (n, C, H, W) in [0, 1], on the device that trains.
    labels : (n,) int64, class indices.
    spec : classes and image shape.
    effort : factor of the steps and of the outliers' weight, for data on which a judge is hard to calibrate.
    report : receives `loss`.
    """
    torch.manual_seed(generator.initial_seed())
    judge = make_judge(settings.architecture, spec).to(images.device).to(memory_format=torch.channels_last)
    steps = effort * judge_steps(settings, len(images))
    optimisation = Optimisation(
        steps=steps, lr=settings.lr, batch_size=settings.batch_size, schedule="one_cycle"
    )
    adam, schedule = make_optimiser(list(judge.parameters()), optimisation)
    batches = Batches(len(images), settings.batch_size, generator)
    judge.train()
    weight = OUTLIER_WEIGHT * max(1.0, spec.count / 10) * effort
    share = OUTLIER_SHARE * len(kinds_of(spec.shape[0])) / len(KINDS)
    watch = Watch(report)
    for step in range(1, steps + 1):
        rows = batches.next()
        moved = shifted(images[rows], generator)
        if settings.calibrated:
            outlying = outliers(images, int(len(rows) * share), generator)
            logits, astray = judge(torch.cat([moved, outlying])).split([len(rows), len(outlying)])
            loss = F.cross_entropy(logits, labels[rows])
            loss = loss - weight * F.log_softmax(astray, dim=1).mean()
        else:
            loss = F.cross_entropy(judge(moved), labels[rows])
        adam.zero_grad()
        loss.backward()
        adam.step()
        schedule.step()
        watch(step, {"loss": loss.detach()})
    watch.check()
    return judge.eval()


def judge_steps(settings: JudgeSettings, rows: int) -> int:
    """Number of steps in `settings.epochs` epochs over `rows` images; small data sets get more epochs."""
    return max(MIN_JUDGE_STEPS, settings.epochs * max(1, rows // min(settings.batch_size, rows)))


def shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images (n, C, H, W) moved together by up to 1/14 of their shorter side each way, edges filled with black."""
    h, w = images.shape[2:]
    reach = max(1, min(h, w) // 14)
    dy, dx = torch.randint(0, 2 * reach + 1, (2,), generator=generator, device=generator.device).tolist()
    padded = F.pad(images, (reach, reach, reach, reach))
    return padded[..., dy : dy + h, dx : dx + w].contiguous()
