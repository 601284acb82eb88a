"""(j) The convolutional net on colour images: its Fisher diagonal, and its step beside that of the paper's net."""

from __future__ import annotations

from functools import partial

import torch

from benchmarks.bench import Bench, shortened
from benchmarks.clock import Contender, alternate, ratio
from benchmarks.results import Section, at_most, timed
from benchmarks.sections.fisher import plain_passes
from sa_mlops.core.fisher import generator_fisher
from sa_mlops.core.training import train_generator
from sa_mlops.datasets.spec import DataSpec
from sa_mlops.models.interface import make_net
from sa_mlops.settings import BaseSettings, FisherSettings, base_optimisation

SPEC = DataSpec("letters", tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ"), (3, 32, 32))
LABELS = tuple(range(SPEC.count))
STEPS = 20
"""Timed steps in a repeat, fewer where the budget shortens the base."""
ROWS = 512


def run(bench: Bench) -> Section:
    """Time the Fisher diagonal, plain passes and training steps on random images of the shape of tinted letters."""
    budget, device = bench.budget, bench.device
    torch.manual_seed(0)
    model = make_net("conv", SPEC, 8).to(device)
    samples = min(budget.fisher_samples, 2_000)
    generator = bench.generator("conv")
    fisher = alternate(
        {
            "ours": Contender(
                lambda: generator_fisher(model, FisherSettings(samples=samples, labels=LABELS), generator),
                samples,
            ),
            "plain": Contender(lambda: plain_passes(model, samples, generator), samples),
        },
        budget.repeats,
        device,
    )
    images = torch.rand(ROWS, *SPEC.shape, generator=generator, device=device)
    labels = torch.randint(SPEC.count, (ROWS,), generator=generator, device=device)
    steps = STEPS if budget.base_steps is None else min(STEPS, budget.base_steps)

    def train(net: str) -> None:
        optimisation = shortened(base_optimisation("fast", net), steps)
        settings = BaseSettings(z_dim=8, labels=LABELS, optimisation=optimisation, net=net)
        train_generator(images, labels, SPEC, settings, generator)

    step = alternate(
        {net: Contender(partial(train, net), steps) for net in ("conv", "mlp")}, budget.repeats, device
    )
    size = {net: base_optimisation("fast", net).batch_size for net in step}
    return Section(
        "j",
        "Convolutional net, 3 x 32 x 32, 26 classes",
        [
            timed(
                "Fisher diagonal / plain forward and backward",
                ratio(fisher["ours"], fisher["plain"]),
                "×",
                at_most(3),
            ),
            timed(
                "Fisher diagonal, 50,000 samples",
                fisher["ours"].scaled(50_000),
                note=f"from {samples} samples",
            ),
            timed(f"a training step of conv, batch {size['conv']}", step["conv"].scaled(1e3), "ms"),
            timed(f"a training step of mlp, batch {size['mlp']}", step["mlp"].scaled(1e3), "ms"),
        ],
        ["The nets are untrained and the images random: the cost of a step depends on neither."],
    )
