"""(a) The Fisher diagonal: ours, the batch-1 loop, vmap, and a plain forward and backward pass."""

from __future__ import annotations

import torch

from benchmarks import reference
from benchmarks.bench import LABELS, Bench
from benchmarks.clock import Contender, alternate, ratio
from benchmarks.results import Row, Section, at_least, at_most, timed
from sa_mlops.core.fisher import elbo_loss, generator_fisher, squared_gradients
from sa_mlops.datasets import mnist
from sa_mlops.models.interface import CVAE, make_net, one_hot
from sa_mlops.settings import FisherSettings

CHUNK = 500
COMPARED = 200
"""Samples on which ours and the loop are compared value by value."""


def run(bench: Bench) -> Section:
    """Time the four ways, each per sample, and compare ours with the loop."""
    budget, device = bench.budget, bench.device
    torch.manual_seed(0)
    model = make_net("mlp", mnist.SPEC, 8).to(device)
    settings = FisherSettings(samples=budget.fisher_samples, labels=LABELS)
    generator = bench.generator("fisher")
    times = alternate(
        {
            "ours": Contender(
                lambda: generator_fisher(model, settings, generator, chunk=CHUNK), settings.samples
            ),
            "plain": Contender(lambda: plain_passes(model, settings.samples, generator), settings.samples),
            "loop": Contender(
                lambda: reference.fisher_by_loop(model, budget.loop_samples), budget.loop_samples
            ),
            "vmap": Contender(
                lambda: reference.fisher_by_vmap(model, budget.vmap_samples), budget.vmap_samples
            ),
        },
        budget.repeats,
        device,
    )
    whole = {name: t.scaled(reference.FISHER_SAMPLES) for name, t in times.items()}
    n = f"{reference.FISHER_SAMPLES:,} samples"
    return Section(
        "a",
        "Fisher diagonal",
        [
            timed("batch-1 loop / ours", ratio(times["loop"], times["ours"]), "×", at_least(30)),
            timed("vmap / ours", ratio(times["vmap"], times["ours"]), "×"),
            timed(
                "ours / plain forward and backward", ratio(times["ours"], times["plain"]), "×", at_most(1.2)
            ),
            timed(f"ours, {n}", whole["ours"]),
            timed(f"plain forward and backward, {n}", whole["plain"]),
            timed(f"batch-1 loop, {n}", whole["loop"], note=f"extrapolated from {budget.loop_samples}"),
            timed(f"vmap, {n}", whole["vmap"], note=f"extrapolated from {budget.vmap_samples}"),
            Row(
                "largest relative difference between ours and the loop's gradients",
                _difference(model, min(COMPARED, budget.loop_samples), generator),
                "",
                note="largest difference over the largest entry, parameter by parameter",
            ),
        ],
        [f"Every way draws its own samples; ours and the plain passes {CHUNK} at once."],
    )


def plain_passes(model: CVAE, samples: int, generator: torch.Generator) -> None:
    """As many forward and backward passes of the same loss as the Fisher diagonal takes, for the batch's gradient."""
    for start in range(0, samples, CHUNK):
        batch = _draw(model, min(CHUNK, samples - start), generator)
        model.zero_grad()
        elbo_loss(model, *batch).sum().backward()
    model.zero_grad()


def _draw(model: CVAE, n: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    device = generator.device
    z = torch.randn(n, model.z_dim, generator=generator, device=device)
    labels = torch.randint(model.classes, (n,), generator=generator, device=device)
    noise = torch.randn(n, model.z_dim, generator=generator, device=device)
    with torch.no_grad():
        return model.sample(z, labels), one_hot(labels, model.classes), noise


def _difference(model: CVAE, samples: int, generator: torch.Generator) -> float:
    batch = _draw(model, samples, generator)
    ours = squared_gradients(model, elbo_loss, batch)
    loop = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for row in range(samples):
        model.zero_grad()
        elbo_loss(model, *(part[row : row + 1] for part in batch)).sum().backward()
        for name, p in model.named_parameters():
            if p.grad is not None:
                loop[name] += p.grad.square()
    model.zero_grad()
    return max(float((ours[k] - loop[k]).abs().max() / loop[k].max().clamp(min=1e-30)) for k in loop)
