"""(e) The cost of MLflow: the same loops with and without a run that records them."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from benchmarks.bench import Bench, base_settings, forget_settings, shortened, store_here
from benchmarks.clock import Contender, Times, alternate, ratio
from benchmarks.results import Row, Section, at_most, timed
from sa_mlops.core.training import train_generator
from sa_mlops.datasets import mnist
from sa_mlops.methods.selective_amnesia import training as amnesia
from sa_mlops.models.interface import make_net
from sa_mlops.settings import BASE_OPTIMISATION

Loop = Callable[..., Any]


def run(bench: Bench) -> Section:
    """Train and forget inside a run, with curves and sample grids recorded as the stages do, and without."""
    from sa_mlops.config import BaseConfig
    from sa_mlops.stages.context import Context
    from sa_mlops.stages.progress import Progress

    budget, device = bench.budget, bench.device
    d = bench.dataset
    torch.manual_seed(0)
    start = make_net("mlp", mnist.SPEC, 8).to(device)
    fisher = {name: torch.ones_like(p) for name, p in start.named_parameters()}
    base = shortened(BASE_OPTIMISATION["fast"], budget.tracked_base_steps)
    amnesia_steps = bench.forget_optimisation

    def train(**watch: Any) -> None:
        train_generator(
            d.train_images, d.train_labels, d.spec, base_settings(base), bench.generator("tracked"), **watch
        )

    def forget(**watch: Any) -> None:
        amnesia.forget(start, fisher, forget_settings(amnesia_steps), bench.generator("tracked"), **watch)

    with store_here():
        config = BaseConfig(dataset=budget.dataset, device=str(device))
        ctx = Context.open(config)
        opening = time.perf_counter()
        with ctx.runs.entry("base", config) as run:
            opened = time.perf_counter()

            def recorded(loop: Loop, steps: int) -> None:
                with Progress("recorded", steps, run.recorder) as progress:
                    loop(report=progress, on_step=ctx.grid_log(run, steps))

            def silent(loop: Loop, steps: int) -> None:
                with Progress("silent", steps, None) as progress:
                    loop(report=progress)

            sides: dict[str, dict[str, Times]] = {}
            for name, loop, steps, repeats in (
                ("base", train, base.steps, budget.long_repeats),
                ("forget", forget, amnesia_steps.steps, budget.repeats),
            ):
                sides[name] = alternate(
                    {
                        "with": Contender(partial(recorded, loop, steps)),
                        "without": Contender(partial(silent, loop, steps)),
                    },
                    repeats,
                    device,
                    warm_up=name == "forget",
                )
            closing = time.perf_counter()
        closed = time.perf_counter()
    rows = []
    for name, steps in (("base", base.steps), ("forget", amnesia_steps.steps)):
        share = ratio(sides[name]["with"], sides[name]["without"])
        percent = Times(tuple(100 * (s - 1) for s in share.seconds))
        rows.append(timed(f"overhead of the {name} loop, {steps:,} steps", percent, "%", at_most(5)))
    for name, t in sides.items():
        rows += [
            timed(f"{name} loop, recorded", t["with"]),
            timed(f"{name} loop, not recorded", t["without"]),
        ]
    rows.append(Row("opening and closing a run", opened - opening + closed - closing, "s",
                    note="data verified and loaded, system metrics started and stopped"))  # fmt: skip
    return Section(
        "e",
        "MLflow",
        rows,
        [
            "Recorded: about 120 points of every curve in batches, 16 sample grids, system metrics, in a SQLite store."
        ],
    )
