"""(f) Sampling: the registered generator as a pyfunc, and the net in process."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import torch

from benchmarks.bench import Bench, store_here
from benchmarks.clock import Contender, Times, alternate, ratio
from benchmarks.results import Row, Section, timed
from sa_mlops.datasets import mnist
from sa_mlops.models.interface import CVAE, make_net


def run(bench: Bench) -> Section:
    """Images per second, many at once and ten at once."""
    import mlflow

    from sa_mlops.registry import names, publish
    from sa_mlops.registry.tracking import Recorder, connect, open_run

    torch.manual_seed(0)
    model = make_net("mlp", mnist.SPEC, 8).to(bench.device)
    rows: list[Row] = []
    with store_here():
        client = connect()
        with open_run("sampling", nested=False, tags={}) as run_id:
            version = publish.publish_generator(
                client, Recorder(client, run_id), model,
                tags={names.STAGE: "base"}, description="", metrics={}, params={},
            )  # fmt: skip
        loaded = mlflow.pyfunc.load_model(version.uri)
        for count in (bench.budget.images, 10):
            labels = np.arange(count, dtype="int64") % 10
            frame = pd.DataFrame({"label": labels})
            on_device = torch.from_numpy(labels).to(bench.device)
            times = alternate(
                {
                    "pyfunc": Contender(partial(loaded.predict, frame, params={"seed": 0}), count),
                    "in process": Contender(partial(_draw, model, on_device), count),
                },
                bench.budget.repeats,
                bench.device,
            )
            rows.append(
                timed(
                    f"pyfunc / in process, {count:,} at once",
                    ratio(times["pyfunc"], times["in process"]),
                    "×",
                )
            )
            rows += [timed(f"{name}, {count:,} at once", _rate(t), "images/s") for name, t in times.items()]
    rows.sort(key=lambda row: row.unit != "×")
    return Section("f", "Sampling", rows, ["The pyfunc checks the signature and always draws on the CPU."])


def _draw(model: CVAE, labels: torch.Tensor) -> torch.Tensor:
    from sa_mlops.registry.generator import draw

    return draw(model, labels, 0).cpu()


def _rate(times: Times) -> Times:
    return Times(tuple(1 / s for s in times.seconds))
