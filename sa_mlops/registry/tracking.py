"""Runs: open, record and close them so that their status is right after errors, signals and crashes."""

from __future__ import annotations

import functools
import json
import logging
import math
import os
import re
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import mlflow
from filelock import FileLock
from mlflow.entities import LoggedModelInput, LoggedModelOutput, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from requests.exceptions import ChunkedEncodingError

from sa_mlops.environment import database
from sa_mlops.errors import Stopped, in_one_line
from sa_mlops.registry import last_words, names, processes, stopping, stores
from sa_mlops.registry.stores import StoreError

if TYPE_CHECKING:
    from mlflow import ActiveRun
    from mlflow.data.meta_dataset import MetaDataset

EXPERIMENT = "sa-mlops"
LOCK_SECONDS = 120
KIND, TRAINING = "mlflow.experimentKind", "custom_model_development"
"""Tag that makes MLflow's UI open an experiment with its training runs, not with traces."""
VIEW = "mlflow.sharedViewState.results"
"""Tag with a view of MLflow's table of runs, which the address `.../runs?viewStateShareKey=results` opens."""
COLUMNS = [
    *(f"metrics.`{key}`" for key in ("forget.prob", "forget.entropy", "retain.accuracy", "retain.fid")),
    *(f"attributes.`{name}`" for name in ("Models", "Dataset")),
]
"""Columns of that view, by MLflow's names."""
MADE_UP = re.compile(r"[a-z]+-[a-z]+-\d{1,4}")
"""A name that MLflow made up for a run, as `amazing-wasp-363`."""
TRIES = 5
"""Attempts to get an answer from a server whose answers break off."""
OPENED = "sa.opened"
"""Tag of a run on a server: the key of the call that opened it, by which the run is found if the answer is lost."""
BATCH = 900
"""Metrics in one `log_batch` call; MLflow allows 1,000."""


P = ParamSpec("P")
R = TypeVar("R")


def asked_again(call: Callable[P, R]) -> Callable[P, R]:
    """Repeat a call whose answer broke off, as when a server is restarted.

    MLflow itself asks again if no answer begins. For calls that may be made twice.
    """

    @functools.wraps(call)
    def patient(*args: P.args, **kwargs: P.kwargs) -> R:
        for attempt in range(1, TRIES):
            try:
                return call(*args, **kwargs)
            except MlflowException as error:
                if not isinstance(error.__context__, ChunkedEncodingError):
                    raise
                time.sleep(0.2 * attempt)
        return call(*args, **kwargs)

    return patient


def connect() -> MlflowClient:
    """A client of the store that `MLFLOW_TRACKING_URI` names (else `sqlite:///mlflow.db` here).

    Many processes may meet a store that has no tables yet; the first one makes them, under a lock.

    Raises StoreError if the store does not answer, or `stores.check` refuses it.
    """
    uri = mlflow.get_tracking_uri()
    try:
        stores.answers(uri)
        stores.check(uri)
        lock = _lock_beside(uri)
        if lock is None:
            return _ready_client()
        with FileLock(lock, timeout=LOCK_SECONDS):
            return _ready_client()
    except StoreError:
        raise
    except Exception as error:  # of SQLAlchemy, urllib3, a driver or MLflow
        raise stores.refused(uri, error) from error


def _lock_beside(uri: str) -> Path | None:
    """The lock under which a sqlite store gets its tables; None for other stores, and for one that is only read."""
    path = database(uri)
    if path is None:
        return None
    if not path.parent.is_dir():
        raise StoreError(f"tracking store {uri}: the folder {path.parent} does not exist")
    lock = path.with_name(path.name + ".lock")
    if path.exists() and not os.access(lock if lock.exists() else path.parent, os.W_OK):
        return None
    return lock


@asked_again
def _ready_client() -> MlflowClient:
    # MLflow reports migrations and monitors as INFO, between the progress lines of a stage.
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    client = MlflowClient()
    client.search_experiments(max_results=1)
    stores.check_registry(mlflow.get_tracking_uri())
    return client


def git_commit(root: Path) -> str:
    """Commit of the checkout whose top folder is `root`, with `-dirty` where tracked files were changed; else empty.

    A repository around the folder, or one that Git's environment variables name, is not this checkout.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}

    def git(*words: str) -> str:
        try:
            done = subprocess.run(
                ["git", *words],
                cwd=root,
                env=environment,
                capture_output=True,
                text=True,
                timeout=20,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return done.stdout.strip() if done.returncode == 0 else ""

    top = git("rev-parse", "--show-toplevel")
    if not top or not Path(top).samefile(root):
        return ""
    commit = git("rev-parse", "HEAD")
    return commit + ("-dirty" if commit and git("status", "--porcelain", "--untracked-files=no") else "")


@contextmanager
def open_run(name: str, *, nested: bool, tags: Mapping[str, str]) -> Iterator[str]:
    """An MLflow run, its id; ends as FINISHED, KILLED (a signal) or FAILED (anything else).

    The outermost run is the one that `mlflow run` opened, if it did: then its experiment is not touched. Without
    one the run goes to the experiment of MLFLOW_EXPERIMENT_NAME or MLFLOW_EXPERIMENT_ID, else to `sa-mlops`.
    """
    given = {"MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"} & os.environ.keys()
    if not nested and not given:
        _use_experiment(EXPERIMENT)
    adopted = not nested and "MLFLOW_RUN_ID" in os.environ
    if adopted:
        _refuse_used(os.environ["MLFLOW_RUN_ID"])
    status = "FINISHED"
    run = None
    with last_words.kept() as tail:
        try:
            with stopping.undisturbed():
                run = _start(name, os.environ.pop("MLFLOW_RUN_ID", None) if adopted else None, nested, tags)
                if adopted and MADE_UP.fullmatch(run.info.run_name or ""):
                    MlflowClient().update_run(run.info.run_id, name=name)
                if not nested:
                    _tag_experiment(run.info.experiment_id)
            yield run.info.run_id
        except (Stopped, KeyboardInterrupt):
            status = "KILLED"
            raise
        except BaseException as error:
            status = "FAILED"
            if run is not None:
                _note_failure(run.info.run_id, error, tail.text())
            if isinstance(error, MlflowException | OSError):
                raise StoreError(f"{name}: {in_one_line(error, 400)}") from error
            raise
        finally:
            if run is not None:
                _end(status)


def _start(name: str, adopted: str | None, nested: bool, tags: Mapping[str, str]) -> ActiveRun:
    """Start a run, or the one that `mlflow run` has opened: a single one, even if an answer of the server is lost."""
    client = MlflowClient()
    tags = {**tags, **processes.tag()}
    remote = stores.remote(mlflow.get_tracking_uri()) and adopted is None
    if remote:
        tags[OPENED] = uuid.uuid4().hex
    known = [adopted] if adopted else []

    @asked_again
    def opened() -> list[str]:
        experiments = [e.experiment_id for e in client.search_experiments()]
        return [r.info.run_id for r in client.search_runs(experiments, f"tags.`{OPENED}` = '{tags[OPENED]}'")]

    @asked_again
    def start() -> ActiveRun:
        try:
            return mlflow.start_run(
                run_id=known[0] if known else None,
                run_name=None if adopted else name,
                nested=nested,
                tags=tags,
                log_system_metrics=True,
            )
        except MlflowException:
            if remote:
                known[:] = opened()
            raise

    run = start()
    for other in opened() if remote else ():
        if other != run.info.run_id:
            client.delete_run(other)
    return run


def _note_failure(run_id: str, error: BaseException, said: str) -> None:
    """Put the cause on the run, and the end of standard error among its artifacts, unless the store itself failed."""
    client = MlflowClient()
    with suppress(Exception):
        client.set_tag(run_id, "sa.error", in_one_line(error, 500))
    with suppress(Exception):
        client.log_text(run_id, f"{said}\n{last_words.spelled(error)}".lstrip(), last_words.ARTIFACT)


def _refuse_used(run_id: str) -> None:
    """Raise StoreError unless the run is one that `mlflow run` has just opened: a used one would be overwritten."""
    advice = "unset the variable"
    try:
        run = MlflowClient().get_run(run_id)
    except MlflowException:
        raise StoreError(f"MLFLOW_RUN_ID {run_id[:80]!r} is no run of this store", advice) from None
    if run.info.status != "RUNNING" or "sa.entry" in run.data.tags:
        raise StoreError(
            f"MLFLOW_RUN_ID {run_id} is a {run.info.status} run that another command opened", advice
        )


def _end(status: str) -> None:
    try:
        with stopping.undisturbed():
            mlflow.end_run(status)
    except (MlflowException, OSError) as error:
        # Otherwise the first error is being raised already.
        if status == "FINISHED":
            raise StoreError(f"the run's end cannot be noted: {in_one_line(error, 400)}") from error


def _use_experiment(name: str) -> None:
    for attempt in range(5):
        try:
            mlflow.set_experiment(name)
            return
        except MlflowException as error:
            known = MlflowClient().get_experiment_by_name(name)
            if known is not None and known.lifecycle_stage == "deleted":
                restore = f"`mlflow experiments restore --experiment-id {known.experiment_id}`"
                raise StoreError(f"experiment {name} was deleted", restore) from None
            # Two processes may create it at the same moment.
            if attempt == 4:
                raise StoreError(in_one_line(error)) from error
            time.sleep(0.2 * (attempt + 1))


@asked_again
def _tag_experiment(experiment_id: str) -> None:
    client = MlflowClient()
    known = client.get_experiment(experiment_id).tags
    for key, value in ((KIND, TRAINING), (VIEW, json.dumps({"selectedColumns": COLUMNS}))):
        if key not in known:
            client.set_experiment_tag(experiment_id, key, value)


class Recorder:
    """Writes one run's metrics in batches.

    Parameters
    ----------
    client, run_id : where to.
    """

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self.client = client
        self.run_id = run_id
        self._dataset: MetaDataset | None = None

    @asked_again
    def params(self, values: Mapping[str, str]) -> None:
        """Log parameters except those that `mlflow run` has logged already."""
        known = self.client.get_run(self.run_id).data.params
        fresh = [Param(k, v) for k, v in values.items() if k not in known]
        self.client.log_batch(self.run_id, params=fresh)

    @asked_again
    def rename(self, old: str, new: str) -> None:
        """Give the run another name, unless the user has named it."""
        if old != new and self.client.get_run(self.run_id).info.run_name == old:
            self.client.update_run(self.run_id, name=new)

    @asked_again
    def series(self, points: Mapping[str, list[tuple[int, int, float]]]) -> None:
        """Log points (step, milliseconds, value) of several metrics."""
        flat = [Metric(k, v, ms, step) for k, rows in points.items() for step, ms, v in rows]
        for start in range(0, len(flat), BATCH):
            self.client.log_batch(self.run_id, metrics=flat[start : start + BATCH])

    @asked_again
    def metrics(self, values: Mapping[str, float], model_id: str | None = None) -> None:
        """Log the finite ones of final values on the run and, tied to its data set, on its logged model."""
        finite = {k: float(v) for k, v in values.items() if math.isfinite(v)}
        items = list(finite.items())
        for start in range(0, len(items), BATCH):
            chunk = dict(items[start : start + BATCH])
            mlflow.log_metrics(
                chunk,
                step=0,
                run_id=self.run_id,
                model_id=model_id,
                dataset=self._dataset if model_id is not None else None,
                synchronous=True,
            )

    @asked_again
    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags."""
        self.client.log_batch(self.run_id, tags=[RunTag(k, v) for k, v in values.items()])

    def used(self, model_id: str | None) -> None:
        """Record a logged model as an input of the run."""
        if model_id is not None:
            self.client.log_inputs(self.run_id, models=[LoggedModelInput(model_id)])

    def made(self, model_id: str) -> None:
        """Record a logged model as an output of the run."""
        self.client.log_outputs(self.run_id, [LoggedModelOutput(model_id, 0)])

    def dataset(self, name: str, md5: str) -> None:
        """Record the data set of the active run, with the pin's md5 as its digest."""
        from mlflow.data.code_dataset_source import CodeDatasetSource
        from mlflow.data.meta_dataset import MetaDataset

        source = CodeDatasetSource(tags={"dataset": name})
        made = MetaDataset(source, name=name, digest=md5)  # type: ignore[abstract]  # MLflow leaves `profile` open
        mlflow.log_input(made, context="training")
        self._dataset = made


def absent(error: Exception) -> bool:
    """Whether an error says that something does not exist; a store that is locked or down does not say that."""
    codes = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
    return (
        isinstance(error, FileNotFoundError | NotADirectoryError) or getattr(error, "error_code", "") in codes
    )


def run_metrics(client: MlflowClient, run_id: str) -> dict[str, float]:
    """Latest value of every metric of a run, under present names; empty if the run was deleted."""
    try:
        return names.current_metrics(client.get_run(run_id).data.metrics)
    except MlflowException as error:
        if not absent(error):
            raise
        return {}
