"""What the stages of one command share: the store, the device, the data, and the run that the command is."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from mlflow.tracking import MlflowClient
from numpy.typing import NDArray
from torch import Tensor

from sa_mlops.config import RunConfig
from sa_mlops.core.runtime import DeviceError, machine, make_generator, prepare, resolve_device
from sa_mlops.datasets import pin as data
from sa_mlops.models.mlp import CVAE
from sa_mlops.parameters import ParameterError, Parameters
from sa_mlops.plots.grids import mosaic
from sa_mlops.registry import names, tracking, versions, weights
from sa_mlops.registry.tracking import Recorder
from sa_mlops.registry.versions import Version, VersionError
from sa_mlops.settings import CLASSES
from sa_mlops.stages.progress import say

GRID_ROWS = 4
GRIDS = 16
"""Sample grids logged while a generator trains."""


@dataclasses.dataclass(slots=True)
class StageRun:
    """An open run of one stage."""

    recorder: Recorder
    client: MlflowClient

    @property
    def run_id(self) -> str:
        """MLflow's id."""
        return self.recorder.run_id

    def now(self) -> int:
        """Milliseconds since 1970."""
        return int(time.time() * 1000)

    def figure(self, figure: Figure, path: str) -> None:
        """Log a figure as an artifact under a stable path."""
        self.client.log_figure(self.run_id, figure, path, save_kwargs={"dpi": 150})

    def image(self, key: str, grid: NDArray[np.float32], step: int) -> None:
        """Log a grid (h, w) in [0, 1], NaN between images, as MLflow's time-stepped image."""
        pixels = np.round(255 * np.nan_to_num(np.clip(grid, 0, 1), nan=1.0)).astype(np.uint8)
        self.client.log_image(self.run_id, np.repeat(np.repeat(pixels, 2, 0), 2, 1), key=key, step=step)


class Context:
    """Opened once a command; every stage it needs upstream runs in it.

    Parameters
    ----------
    config : what every stage takes (data set, seed, device, fresh).

    Raises
    ------
    ParameterError : if the device is not there.
    StoreError : if the tracking store does not answer.
    """

    def __init__(self, config: RunConfig) -> None:
        try:
            self.device = resolve_device(config.device)
        except DeviceError as error:
            raise ParameterError("device", config.device, str(error)) from None
        prepare(self.device)
        self.dataset_name = config.dataset
        self.seed = config.seed
        self.fresh = config.fresh
        self.client = tracking.connect()
        self._dataset: data.Dataset | None = None
        self._claimed = True
        self._entry: tuple[str, str] | None = None
        self._commit: str | None = None
        self._made: set[str] = set()
        self.memo: dict[str, Any] = {}
        """What stages keep for the rest of the command: judges, the base's samples."""

    @property
    def dataset(self) -> data.Dataset:
        """The verified images, loaded on first use."""
        if self._dataset is None:
            self._dataset = data.load(self.dataset_name, self.device)
        return self._dataset

    def reseeded(self, seed: int) -> Context:
        """The same command under another seed; its stages are nested runs of the same entry."""
        other = copy.copy(self)
        other.seed = seed
        other.memo = {}
        return other

    def generator(self, *purpose: object) -> torch.Generator:
        """Random numbers for one purpose under the command's seed."""
        return make_generator(self.device, self.seed, *purpose)

    def common_tags(self) -> dict[str, str]:
        """Tags that every version carries."""
        if self._commit is None:
            try:
                self._commit = tracking.git_commit(data.project_root())
            except data.DataError:
                self._commit = ""
        return {
            names.DATASET: self.dataset.name,
            names.DATA_MD5: self.dataset.md5,
            names.SEED: str(self.seed),
            names.GIT_COMMIT: self._commit,
            names.MACHINE: machine(self.device),
        }

    def reusable(self, name: str, tags: Mapping[str, str]) -> Version | None:
        """A version that was made with the same data, seed and `tags`; None under `--fresh`, unless made here."""
        keys = {
            **tags,
            names.DATASET: self.dataset.name,
            names.DATA_MD5: self.dataset.md5,
            names.SEED: str(self.seed),
        }
        found = versions.find(self.client, name, keys)
        if found is not None and self.fresh and found.uri not in self._made:
            return None
        return found

    def note_made(self, version: Version) -> Version:
        """Remember that this command made `version`, so that `--fresh` does not make it twice."""
        self._made.add(version.uri)
        return version

    @contextmanager
    def entry(self, stage: str, config: Parameters) -> Iterator[StageRun]:
        """The command's own run. Data is verified before it opens."""
        _ = self.dataset
        with tracking.open_run(stage, nested=False, tags={"sa.entry": stage}) as run_id:
            recorder = Recorder(self.client, run_id)
            recorder.params(config.spelled())
            recorder.dataset(self.dataset.name, self.dataset.md5)
            self._entry, self._claimed = (stage, run_id), False
            try:
                yield StageRun(recorder, self.client)
            finally:
                self._entry = None

    @contextmanager
    def run(self, stage: str, title: str, params: Mapping[str, str]) -> Iterator[StageRun]:
        """A run for one stage: the command's own if that is what the command is for, else a nested one."""
        if self._entry is not None and self._entry[0] == stage and not self._claimed:
            self._claimed = True
            recorder = Recorder(self.client, self._entry[1])
            recorder.tags({names.STAGE: stage})
            recorder.params({f"resolved.{k}": v for k, v in params.items()})
            yield StageRun(recorder, self.client)
            return
        with tracking.open_run(title, nested=True, tags={names.STAGE: stage}) as run_id:
            recorder = Recorder(self.client, run_id)
            recorder.params(params)
            recorder.dataset(self.dataset.name, self.dataset.md5)
            yield StageRun(recorder, self.client)

    def note_reuse(self, stage: str, version: Version) -> None:
        """Say that `version` is reused, and note it on the command's run if it is what the command is for."""
        say(f"{version.title}: reused ({version.uri})")
        if self._entry is not None:
            recorder = Recorder(self.client, self._entry[1])
            recorder.used(version.model_id)
            if self._entry[0] == stage and not self._claimed:
                self._claimed = True
                recorder.tags({names.STAGE: stage, names.REUSED: version.uri})
                recorder.metrics(tracking.run_metrics(self.client, version.run_id))

    def named_generator(self, option: str, word: str) -> Version:
        """The generator that a user names by number or alias, made from the data set of this command.

        Raises
        ------
        ParameterError : if there is none, or it belongs to other data.
        """
        try:
            version = versions.resolve(self.client, names.GENERATORS, word)
        except VersionError:
            raise ParameterError(
                option, word, versions.describe_known(self.client, names.GENERATORS)
            ) from None
        made_from = version.tags.get(names.DATASET, "")
        if made_from and made_from != self.dataset_name:
            raise ParameterError(
                "dataset", self.dataset_name, f"{made_from}: {version.uri} was trained on it"
            )
        return version

    def load(self, version: Version) -> CVAE:
        """A generator's net on the command's device.

        Raises
        ------
        VersionError, WeightsError : if its files are missing or not a generator's.
        """
        return weights.load_cvae(_generator_folder(version), self.device)

    def grid(self, model: CVAE, rows: int = GRID_ROWS) -> NDArray[np.float32]:
        """Images (rows, 10, 28, 28): a latent a row, the same ones for every model, a class a column."""
        return grid(model, rows, self.seed, self.device)


def _generator_folder(version: Version) -> Any:
    return versions.files(version) / "artifacts"


def grid(model: CVAE, rows: int, seed: int, device: torch.device) -> NDArray[np.float32]:
    """Images (rows, 10, 28, 28) of all classes; row r has the same latent in every column and for every model."""
    z = torch.randn(rows, model.z_dim, generator=make_generator(torch.device("cpu"), seed, "grid")).to(device)
    labels = torch.arange(CLASSES, device=device)
    with torch.no_grad():
        images: Tensor = model.sample(z.repeat_interleave(CLASSES, dim=0), labels.repeat(rows))
    array: NDArray[np.float32] = images.view(rows, CLASSES, 28, 28).cpu().numpy()
    return array


class GridLog:
    """An `on_step` that logs sample grids over a training loop, denser at its start, where most happens."""

    def __init__(self, context: Context, run: StageRun, steps: int) -> None:
        self.context = context
        self.run = run
        self.due = {max(1, round(steps * (i / (GRIDS - 1)) ** 2)) for i in range(GRIDS)}

    def __call__(self, step: int, model: CVAE) -> None:
        """Log a grid if one is due."""
        if step in self.due:
            self.run.image("samples", mosaic(self.context.grid(model)), step)
