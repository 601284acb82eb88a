"""`python -m benchmarks.workload NAME SIZE`: one kind of work in a process of its own, whose peak memory is read."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable

import torch

from benchmarks import reference
from benchmarks.bench import FORGOTTEN, LABELS, base_settings, forget_settings, shortened
from benchmarks.clock import synchronise
from sa_mlops import datasets
from sa_mlops.core.fisher import generator_fisher
from sa_mlops.core.measuring import Evaluator
from sa_mlops.core.runtime import make_generator, prepare, resolve_device
from sa_mlops.core.training import train_generator
from sa_mlops.datasets import mnist
from sa_mlops.methods.selective_amnesia import OPTIMISATION
from sa_mlops.methods.selective_amnesia import training as amnesia
from sa_mlops.models.classifiers import make_judge
from sa_mlops.models.interface import make_net
from sa_mlops.settings import BASE_OPTIMISATION, FisherSettings

# The nets are untrained: the cost of a step does not depend on the weights.


class Work:
    """The kinds of work, a method each; the unit of `size` depends on the kind."""

    def __init__(self, dataset: str, device: torch.device) -> None:
        self.dataset_name = dataset
        self.device = device
        self.generator = make_generator(device, 0, "workload")
        self.model = make_net("mlp", mnist.SPEC, 8).to(device)
        self.images: datasets.Dataset | None = None

    def load(self) -> datasets.Dataset:
        """The images."""
        self.images = datasets.load(self.dataset_name, self.device)
        return self.images

    def nothing(self, _size: int) -> None:
        """Images in memory and no work: the baseline of the others."""
        self.load()

    def base(self, size: int) -> None:
        """Training steps of the base."""
        d = self.images or self.load()
        settings = base_settings(shortened(BASE_OPTIMISATION["fast"], size))
        train_generator(d.train_images, d.train_labels, d.spec, settings, self.generator)

    def reference_base(self, size: int) -> None:
        """Training steps of the reference's base."""
        reference.train_base(reference.per_image_dataset(self.images or self.load()), size, self.device)

    def fisher(self, size: int) -> None:
        """Samples of the Fisher diagonal."""
        generator_fisher(self.model, FisherSettings(samples=size, labels=LABELS), self.generator)

    def fisher_loop(self, size: int) -> None:
        """Samples of the batch-1 loop."""
        reference.fisher_by_loop(self.model, size)

    def fisher_vmap(self, size: int) -> None:
        """Samples of vmap."""
        reference.fisher_by_vmap(self.model, size)

    def forget(self, size: int) -> None:
        """Steps of amnesia."""
        fisher = {n: torch.ones_like(p) for n, p in self.model.named_parameters()}
        amnesia.forget(
            self.model, fisher, forget_settings(shortened(OPTIMISATION["fast"], size)), self.generator
        )

    def reference_forget(self, size: int) -> None:
        """Steps of the reference's amnesia."""
        fisher = {n: torch.ones_like(p) for n, p in self.model.named_parameters()}
        reference.forget(self.model, fisher, FORGOTTEN, size)

    def sequential(self, size: int) -> None:
        """Classes forgotten one after another, with a new Fisher diagonal for each."""
        model = self.model
        for label in range(size):
            earlier = tuple(range(label))
            labels = tuple(c for c in LABELS if c not in earlier)
            fisher = generator_fisher(model, FisherSettings(samples=2_000, labels=labels), self.generator)
            settings = forget_settings(shortened(OPTIMISATION["fast"], 40), label, earlier)
            model = amnesia.forget(model, fisher, settings, self.generator)

    def evaluate(self, size: int) -> None:
        """Evaluations of a generator."""
        d = self.images or self.load()
        judges = [make_judge(kind, d.spec).to(self.device).eval() for kind in ("wide", "reference")]
        evaluator = Evaluator(judges[0], judges[1], d, 0)
        for _ in range(size):
            evaluator.evaluate(self.model, (FORGOTTEN,))


KINDS: dict[str, Callable[[Work, int], None]] = {
    "nothing": Work.nothing,
    "base": Work.base,
    "reference_base": Work.reference_base,
    "fisher": Work.fisher,
    "fisher_loop": Work.fisher_loop,
    "fisher_vmap": Work.fisher_vmap,
    "forget": Work.forget,
    "reference_forget": Work.reference_forget,
    "sequential": Work.sequential,
    "evaluate": Work.evaluate,
}


def main() -> int:
    """Do the work; its seconds as JSON, without imports and loading."""
    import time

    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=KINDS)
    parser.add_argument("size", type=int)
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    device = resolve_device(given.device)
    prepare(device)
    work = Work(given.dataset, device)
    if given.name in ("nothing", "base", "reference_base", "evaluate"):
        work.load()
    else:
        # What the first call of anything costs is no part of growth.
        KINDS[given.name](work, 1)
    synchronise(device)
    start = time.perf_counter()
    KINDS[given.name](work, given.size)
    synchronise(device)
    seconds = time.perf_counter() - start
    on_device = torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else 0.0
    print(json.dumps({"seconds": seconds, "device_mib": on_device}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
