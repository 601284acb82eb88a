"""Shared by the sections: budget, device, data, and a trained base and judges on demand."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import sys
import tempfile
from collections.abc import Iterator
from functools import cache, cached_property
from pathlib import Path

import torch

from benchmarks.budget import Budget
from benchmarks.clock import child
from sa_mlops import datasets
from sa_mlops.core.measuring import Evaluator
from sa_mlops.core.runtime import make_generator
from sa_mlops.core.training import train_generator, train_judge
from sa_mlops.datasets import mnist
from sa_mlops.methods.selective_amnesia import DISTILLATION, EWC_LAMBDA, OPTIMISATION, ForgetSettings
from sa_mlops.models.interface import CVAE
from sa_mlops.settings import (
    BASE_OPTIMISATION,
    JUDGES,
    BaseSettings,
    Optimisation,
)

LABELS = tuple(range(mnist.SPEC.count))
FORGOTTEN = 1
"""The class that is forgotten."""


@dataclasses.dataclass
class Bench:
    """One run of the benchmarks."""

    budget: Budget
    device: torch.device

    @cached_property
    def dataset(self) -> datasets.Dataset:
        """The images, on the device."""
        return datasets.load(self.budget.dataset, self.device)

    @cached_property
    def base(self) -> CVAE:
        """A base of the fast recipe; the section that times its training leaves its own here."""
        say("training a base")
        return train_generator(
            self.dataset.train_images,
            self.dataset.train_labels,
            self.dataset.spec,
            base_settings(self.base_optimisation),
            self.generator("base"),
        )

    @cached_property
    def evaluator(self) -> Evaluator:
        """The judges of the package, trained here."""
        say("training the judges")
        d = self.dataset
        calibrated, plain = (
            train_judge(d.train_images, d.train_labels, d.spec, JUDGES[role], self.generator("judge", role))
            for role in ("calibrated", "plain")
        )
        return Evaluator(calibrated, plain, d, 0)

    @property
    def base_optimisation(self) -> Optimisation:
        """The fast recipe's, shortened by the budget."""
        return shortened(BASE_OPTIMISATION["fast"], self.budget.base_steps)

    @property
    def forget_optimisation(self) -> Optimisation:
        """The fast recipe's, shortened by the budget."""
        return shortened(OPTIMISATION["fast"], self.budget.forget_steps)

    def generator(self, *purpose: object) -> torch.Generator:
        """Random numbers for one purpose."""
        return make_generator(self.device, 0, "benchmarks", *purpose)


def shortened(recipe: Optimisation, steps: int | None) -> Optimisation:
    """The recipe with another number of steps, if one is given."""
    return recipe if steps is None else dataclasses.replace(recipe, steps=steps)


def base_settings(optimisation: Optimisation) -> BaseSettings:
    """A base on all classes of MNIST."""
    return BaseSettings(z_dim=8, labels=LABELS, optimisation=optimisation)


def forget_settings(
    optimisation: Optimisation, label: int = FORGOTTEN, earlier: tuple[int, ...] = ()
) -> ForgetSettings:
    """The fast recipe's step of amnesia."""
    return ForgetSettings(
        forget=(label,), earlier=earlier, optimisation=optimisation, ewc_lambda=EWC_LAMBDA["fast"], replay_ratio=1.0,
        decoder_terms=True, surrogate="noise", surrogate_md5=None, update="standard", reteach=0.25 if earlier else 0.0,
        harden=None, distillation=DISTILLATION,
    )  # fmt: skip


def say(text: str) -> None:
    """A line on how far the benchmarks are."""
    print(f"  {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def store_here() -> Iterator[Path]:
    """An empty MLflow store in a folder of its own, and this process in it; silent, and deleted afterwards."""
    tables = _empty_store()
    before, environment = Path.cwd(), dict(os.environ)
    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stderr(io.StringIO()):
        (Path(name) / "mlflow.db").write_bytes(tables)
        os.chdir(name)
        os.environ["MLFLOW_TRACKING_URI"] = store_uri(Path(name))
        try:
            yield Path(name)
        finally:
            os.chdir(before)
            for key in os.environ.keys() - environment.keys():
                del os.environ[key]
            os.environ.update(environment)


@cache
def _empty_store() -> bytes:
    """A store with tables and nothing in them. Making those takes seconds that are not to be measured."""
    with tempfile.TemporaryDirectory() as name:
        child(("-c", "from sa_mlops.registry.tracking import connect; connect()"), Path(name),
              MLFLOW_TRACKING_URI=store_uri(Path(name)))  # fmt: skip
        return (Path(name) / "mlflow.db").read_bytes()


def store_uri(folder: Path) -> str:
    """The store in `folder`."""
    return f"sqlite:///{folder}/mlflow.db"
