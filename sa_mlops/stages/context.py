"""The context of a command: store, device, data set, seed and whether registered versions may be reused."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from mlflow.tracking import MlflowClient
from numpy.typing import NDArray

from sa_mlops import datasets
from sa_mlops.config import RunConfig
from sa_mlops.core.runtime import DeviceError, make_generator, prepare, resolve_device
from sa_mlops.models.interface import CVAE
from sa_mlops.parameters import ParameterError
from sa_mlops.registry import names, tracking, versions, weights
from sa_mlops.registry.version import Version, refuse_withdrawn
from sa_mlops.stages import grids
from sa_mlops.stages.runs import Runs, StageRun


@dataclass(frozen=True, slots=True)
class Context:
    """Shared by every stage of a command.

    Attributes
    ----------
    client : of the tracking store.
    device : on which everything is computed.
    dataset : verified images and labels, on the device.
    seed : of every random number.
    fresh : registered versions are not reused.
    runs : opens the command's runs.
    """

    client: MlflowClient
    device: torch.device
    dataset: datasets.Dataset
    seed: int
    fresh: bool
    runs: Runs

    @classmethod
    def open(cls, config: RunConfig) -> Self:
        """The context that the options of a command describe.

        Raises ParameterError if the device does not exist;
        StoreError if the tracking store does not answer;
        DataError if the data set is missing or damaged.
        """
        try:
            device = resolve_device(config.device)
        except DeviceError as error:
            raise ParameterError("device", config.device, str(error)) from None
        prepare(device)
        client = tracking.connect()
        dataset = datasets.load(config.dataset, device)
        return cls(
            client, device, dataset, config.seed, config.fresh, Runs(client, dataset.name, dataset.md5)
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes of the data set."""
        return self.dataset.spec.classes

    def spell(self, indices: Iterable[int]) -> str:
        """Names of classes in tags and titles: `0,1`, `coat,shirt`."""
        return names.spell_classes(self.dataset.spec.names(indices))

    def reseeded(self, seed: int) -> Self:
        """The same command under another seed."""
        return dataclasses.replace(self, seed=seed)

    def generator(self, *purpose: object) -> torch.Generator:
        """Random numbers for one purpose under the command's seed."""
        return make_generator(self.device, self.seed, *purpose)

    def named_generator(self, option: str, word: str) -> Version:
        """The generator that a user names by number or alias, made from the data set of this command.

        Raises ParameterError if it does not exist, or was made from another data set; CommandError if it was withdrawn.
        """
        version = versions.given(self.client, word, option=option)
        refuse_withdrawn(version)
        made_from = version.tags.get(names.DATASET, "")
        if made_from and made_from != self.dataset.name:
            raise ParameterError(
                "dataset", self.dataset.name, f"{made_from}: {version.uri} was trained on it"
            )
        return version

    def load(self, version: Version) -> CVAE:
        """A generator's net on the command's device.

        Raises VersionError, WeightsError if its files are missing or not a generator's.
        """
        return weights.load_cvae(versions.net(version), self.device)

    def grid(self, model: CVAE, rows: int = grids.ROWS) -> NDArray[np.float32]:
        """Sample images (rows, K, C, H, W): one latent a row, one class a column; see `grids.grid`."""
        return grids.grid(model, self.seed, self.device, rows)

    def grid_log(self, run: StageRun, steps: int) -> grids.GridLog:
        """An `on_step` of a training loop that logs sample grids on a run."""
        return grids.GridLog(run, steps, self.seed, self.device)
