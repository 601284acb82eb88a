"""The runs of one command: its own, and one nested in it for every further stage."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from mlflow.tracking import MlflowClient
from numpy.typing import NDArray

from sa_mlops.parameters import Parameters
from sa_mlops.plots.grids import pixels
from sa_mlops.registry import names, tracking
from sa_mlops.registry.stopping import stoppable
from sa_mlops.registry.tracking import Recorder
from sa_mlops.registry.version import Version
from sa_mlops.stages.progress import say


@dataclass(frozen=True, slots=True)
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

    def table(self, name: str, frame: pd.DataFrame) -> None:
        """Log a table as `tables/NAME.json`, which MLflow shows, and as CSV."""
        self.client.log_table(self.run_id, frame, f"tables/{name}.json")
        self.client.log_text(self.run_id, frame.to_csv(index=False), f"tables/{name}.csv")

    def image(self, key: str, grid: NDArray[np.float32], step: int) -> None:
        """Log a mosaic in [0, 1], NaN between images, as MLflow's time-stepped image."""
        self.client.log_image(self.run_id, pixels(grid).repeat(2, 0).repeat(2, 1), key=key, step=step)


def entry_title(stage: str, config: Parameters) -> str:
    """Name of a command's run: `forget 1`, `sequential 0,1 from v2`, `probe v3`."""
    given = config.spelled()
    words = [stage, given.get("classes", "")]
    for key, link in (("version", ""), ("from_version", "from ")):
        word = given.get(key, "auto")
        words += [f"{link}v{word}" if word.isdecimal() else f"{link}{word}"] if word != "auto" else []
    return " ".join(word for word in words if word)


class Runs:
    """Opens the runs of a command on one data set.

    Attributes
    ----------
    made : URIs of the versions that this command made; `--fresh` does not make them twice.
    command : as it is typed; empty outside a command's run.
    seconds : of the runs that made something, by stage.
    """

    def __init__(self, client: MlflowClient, dataset: str, md5: str) -> None:
        self.client, self.dataset, self.md5 = client, dataset, md5
        self.made: set[str] = set()
        self.command = ""
        self.seconds: dict[str, float] = {}
        self._entry: tuple[str, StageRun] | None = None
        self._claimed = False
        self._name = ""

    @contextmanager
    def entry(self, stage: str, config: Parameters, *, nested: bool = False) -> Iterator[StageRun]:
        """The command's own run, which a signal stops; nested in it, that of another command that this one runs."""
        outer = self._entry, self._claimed, self._name, self.command
        title = entry_title(stage, config)
        self.command = shlex.join(("sa-mlops", stage, *config.words()))
        tags = {} if nested else {"sa.entry": stage}
        started = time.monotonic()
        stops = nullcontext() if nested else stoppable()
        with stops, tracking.open_run(title, nested=nested, tags=tags) as run_id:
            run = self._opened(run_id, config.spelled())
            self._entry, self._claimed, self._name = (stage, run), False, title
            try:
                yield run
            finally:
                self._entry, self._claimed, self._name, self.command = outer
        if self.seconds and not nested:
            parts = ", ".join(f"{name} {seconds:.0f}" for name, seconds in self.seconds.items())
            say(f"seconds: {parts}; {time.monotonic() - started:.0f} in all")

    @contextmanager
    def run(self, stage: str, title: str, params: Mapping[str, str]) -> Iterator[StageRun]:
        """A run for one stage: the command's own the first time that its own stage asks, otherwise a nested one."""
        started = time.monotonic()
        own = self._claim(stage)
        if own is not None:
            own.recorder.tags({names.STAGE: stage})
            own.recorder.rename(self._name, title)
            own.recorder.params({f"resolved.{k}": v for k, v in params.items()})
            yield own
        else:
            with tracking.open_run(title, nested=True, tags={names.STAGE: stage}) as run_id:
                yield self._opened(run_id, params)
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.monotonic() - started

    def reused(self, stage: str, title: str, version: Version) -> None:
        """Say that a registered version is used, and note it with its results on the command's run."""
        say(f"{version.title}: reused ({version.uri})")
        if self._entry is not None:
            self._entry[1].recorder.used(version.model_id)
        own = self._claim(stage)
        if own is not None:
            own.recorder.tags({names.STAGE: stage, names.REUSED: version.uri})
            own.recorder.rename(self._name, f"{title} (reused)")
            own.recorder.metrics(names.results(tracking.run_metrics(self.client, version.run_id)))

    def _opened(self, run_id: str, params: Mapping[str, str]) -> StageRun:
        recorder = Recorder(self.client, run_id)
        recorder.params(params)
        recorder.dataset(self.dataset, self.md5)
        return StageRun(recorder, self.client)

    def _claim(self, stage: str) -> StageRun | None:
        """The command's own run if `stage` is the command's and has not had it yet."""
        if self._entry is None or self._entry[0] != stage or self._claimed:
            return None
        self._claimed = True
        return self._entry[1]
