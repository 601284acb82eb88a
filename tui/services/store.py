"""Reads one tracking store: the tables of a sqlite file, others through MLflow, a page at a time.

Every method blocks and belongs into a worker thread. Nothing that reads writes: MLflow connects to a sqlite file, in
which it makes or migrates tables, only for a deletion or the end of a run.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sa_mlops import environment
from sa_mlops.errors import CommandError
from sa_mlops.registry import inventory, last_words, log, names, signing, tables
from sa_mlops.registry.inventory import Inventory
from sa_mlops.registry.stores import StoreError, local
from sa_mlops.registry.tables import Key
from sa_mlops.registry.version import Version, refuse_withdrawn
from tui.services import reading
from tui.services.records import LOST, Run, Snapshot

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

    from sa_mlops.registry.log import AliasEvent

VERSION_PAGE = 200
RUN_PAGE = 100
FIRST_RUNS = 40
DEEP_PAGE = 500
ARTIFACTS = 300
IMAGE_TYPES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp")
PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
"""For a server that does not answer: a message after seconds, not minutes."""


class Store:
    """One tracking store.

    Parameters
    ----------
    uri : MLflow's tracking URI. A missing sqlite file is an empty store, and is not made.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._client: MlflowClient | None = None
        self._lock = threading.Lock()
        self._stamp: tuple[object, ...] | None = None
        self._seen = False
        self._folders: dict[str, Path] = {}

    @property
    def database(self) -> Path | None:
        """The sqlite file, None for other stores."""
        return environment.database(self.uri)

    @property
    def missing(self) -> bool:
        """Whether it is a sqlite file that does not exist."""
        return self.database is not None and not self.database.exists()

    def there(self) -> bool:
        """Whether there is something to read.

        Raises
        ------
        StoreError : if there was before, or if there is no folder for the file.
        """
        path = self.database
        if path is None:
            if "://" not in self.uri or self.uri.startswith("file:"):
                raise StoreError(f"{self.uri} is neither sqlite:///FILE nor the address of a server")
            return True
        stat = _stat(path)
        found = stat is not None and stat.st_size > 0
        if not found and self._seen:
            raise StoreError(f"{path} has disappeared")
        if not path.parent.is_dir():
            raise StoreError(f"the folder {path.parent} does not exist")
        self._seen = self._seen or found
        return found

    @property
    def client(self) -> MlflowClient:
        """MLflow's client, connected on first use."""
        with self._lock:
            if self._client is None:
                self._prepare()
                from sa_mlops.registry import stores, tracking

                stores.answers(self.uri, patience=0)  # the next reading asks again
                if self.database is None and not self.uri.startswith("http"):
                    _check_tables(self.uri)
                self._client = tracking.connect()
        return self._client

    def _prepare(self) -> None:
        """Point MLflow at the store, with patience for seconds."""
        for key, value in PATIENCE.items():
            os.environ.setdefault(key, value)
        import mlflow

        mlflow.set_tracking_uri(self.uri)

    def changed(self) -> bool:
        """Whether the store may have changed since the last call. Cheap for sqlite, always true elsewhere."""
        path = self.database
        if path is None:
            return True
        files = (path, path.with_name(path.name + "-wal"))
        stamp = tuple((s.st_mtime_ns, s.st_size) if (s := _stat(f)) else None for f in files)
        known, self._stamp = self._stamp, stamp
        return stamp != known

    def forget_stamp(self) -> None:
        """Report a change at the next call of `changed`."""
        self._stamp = None

    def read(self, old: Snapshot | None, *, whole: bool = False) -> Iterator[Snapshot]:
        """The present state of the store; a large one page by page.

        Parameters
        ----------
        old : the last reading: only the newest pages and active runs are read again, unless `whole`.

        Raises
        ------
        StoreError : if it cannot be read.
        """
        if not self.there():
            yield Snapshot()
        elif self.database is not None:
            try:
                yield reading.snapshot(self.database, None if whole else old)
            except tables.TablesError as error:
                raise StoreError(str(error)) from error
        else:
            try:
                yield from self._ask(old, whole)
            except Exception as error:  # requests, urllib3 and MLflow raise their own kinds
                found = error.__cause__ if isinstance(error, StoreError) else error
                if found is None:  # a sentence already
                    raise
                raise StoreError(f"{self.uri} {_failure(found)}") from found

    def _ask(self, old: Snapshot | None, whole: bool) -> Iterator[Snapshot]:
        """The same from MLflow."""
        client = self.client
        deep = whole or old is None or not old.complete
        base = Snapshot() if old is None else old
        aliases = {name: self._aliases(name) for name in names.MODELS}
        kept: dict[Key, Version] = dict(base.versions)
        tokens: dict[str, str] = {}
        for name in names.MODELS:
            page, token = self._versions(name, None, VERSION_PAGE)
            _merge(kept, name, page, last=not token)
            if token:
                tokens[name] = token
        runs: dict[str, Run] = dict(base.runs)
        experiments = [e.experiment_id for e in client.search_experiments(max_results=1000)]
        fresh, run_token = self._runs(experiments, None, FIRST_RUNS if old is None else RUN_PAGE)
        runs.update({r.run_id: r for r in fresh})
        read = {r.run_id for r in fresh}
        for run in base.runs.values():
            if (run.active or run.status == LOST) and run.run_id not in read and not deep:
                again = self.run(run.run_id)
                if again is None:
                    runs.pop(run.run_id, None)
                else:
                    runs[run.run_id] = again
        if not run_token:
            runs = {key: run for key, run in runs.items() if key in read}
        more = deep and bool(tokens or run_token)
        yield Snapshot(dict(kept), aliases, dict(runs), complete=not more)
        if not more:
            return
        reached = {name: min((n for m, n in kept if m == name), default=0) for name in tokens}
        while tokens or run_token:
            for name in list(tokens):
                page, token = self._versions(name, tokens[name], DEEP_PAGE)
                _merge(kept, name, page, last=not token, below=reached[name])
                reached[name] = min((v.number for v in page), default=0)
                if token:
                    tokens[name] = token
                else:
                    del tokens[name]
            if run_token:
                fresh, run_token = self._runs(experiments, run_token, RUN_PAGE)
                runs.update({r.run_id: r for r in fresh})
                read |= {r.run_id for r in fresh}
                if not run_token:
                    runs = {key: run for key, run in runs.items() if key in read}
            yield Snapshot(dict(kept), aliases, dict(runs), complete=not (tokens or run_token))

    def _versions(self, name: str, token: str | None, size: int) -> tuple[list[Version], str]:
        from sa_mlops.registry.versions import from_entity

        page = self.client.search_model_versions(
            f"name = '{name}'", max_results=size, order_by=["version_number DESC"], page_token=token
        )
        return [from_entity(entity) for entity in page], page.token or ""

    def _runs(self, experiments: list[str], token: str | None, size: int) -> tuple[list[Run], str]:
        page = self.client.search_runs(
            experiments, order_by=["attributes.start_time DESC"], max_results=size, page_token=token
        )
        return [_run(run) for run in page], page.token or ""

    def _aliases(self, name: str) -> dict[str, int]:
        return log.alias_map(self.client, name)

    def run(self, run_id: str) -> Run | None:
        """One run, None if it is not there."""
        from mlflow.exceptions import MlflowException

        try:
            return _run(self.client.get_run(run_id))
        except MlflowException:
            return None

    def history(self, run_id: str, keys: list[str]) -> dict[str, list[tuple[float, float]]]:
        """Metric -> points (step, value), in order of steps."""
        if self.database is not None:
            return tables.history(self.database, run_id, keys)
        found = {}
        for key in keys:
            points = self.client.get_metric_history(run_id, key)
            # System metrics carry no meaningful steps of their own beyond a counter; steps are enough for both.
            found[key] = sorted((float(m.step), float(m.value)) for m in points)
        return found

    def images(self, run: Run) -> list[str]:
        """Paths of logged images and figures of a run: figures first, then the newest samples."""
        found = [path for path in self.artifacts(run, "") if path.lower().endswith(IMAGE_TYPES)]
        found = [path for path in found if "+compressed" not in path]
        return sorted(found, key=lambda path: (path.startswith("images/"), -image_step(path), path))

    def grids(self, run: Run) -> list[str]:
        """Paths of the sample grids that a run has logged, by their step."""
        found = self.artifacts(run, "images")
        grids = [path for path in found if path.startswith("images/samples+") and path.endswith(".png")]
        return sorted(grids, key=image_step)

    def log(self, run: Run) -> str:
        """The end of standard error that a failed run has logged; empty without one."""
        if last_words.ARTIFACT not in self.artifacts(run, "log"):
            return ""
        return self.download(run, last_words.ARTIFACT).read_text(errors="replace")

    def artifacts(self, run: Run, folder: str = "") -> list[str]:
        """Paths of a run's artifacts below a folder, at most some hundreds."""
        root = local(run.artifacts)
        if root is not None:
            files = (p for p in sorted((root / folder).rglob("*")) if p.is_file())
            return [p.relative_to(root).as_posix() for p in islice(files, ARTIFACTS)]
        self._prepare()
        from mlflow.artifacts import list_artifacts

        found: list[str] = []
        folders = [folder]
        while folders and len(found) < ARTIFACTS:
            below = folders.pop(0)
            place = f"{run.artifacts.rstrip('/')}/{below}".rstrip("/")
            for info in list_artifacts(artifact_uri=place, tracking_uri=self.uri):
                path = f"{below}/{info.path.rpartition('/')[2]}".lstrip("/")
                (folders if info.is_dir else found).append(path)
        return found

    def download(self, run: Run, path: str) -> Path:
        """An artifact as a local file."""
        root = local(run.artifacts)
        return root / path if root is not None else self._download(f"{run.artifacts.rstrip('/')}/{path}")

    def _download(self, place: str) -> Path:
        self._prepare()
        from mlflow.artifacts import download_artifacts

        return Path(download_artifacts(artifact_uri=place, tracking_uri=self.uri))

    def files(self, version: Version) -> Path:
        """Local folder of a version's weights.

        Raises
        ------
        CommandError : if it was withdrawn, or its files are lost or belong to another project.
        """
        refuse_withdrawn(version)
        if version.model_id is None:
            raise CommandError(
                f"{version.uri} does not come from a logged model of this store; it is not read"
            )
        if self.database is None:
            from sa_mlops.registry import versions

            _ = self.client
            return versions.net(version)
        place = tables.model_place(self.database, version.model_id)
        folder = local(place)
        if folder is None:
            if place not in self._folders:
                self._folders[place] = self._download(place)
            folder = self._folders[place]
        if not folder.is_dir() or not any(folder.iterdir()):
            raise CommandError(f"the files of {version.uri} are lost")
        signing.require_own(folder / "artifacts", version.uri)
        return folder / "artifacts"

    def alias_events(self, name: str) -> list[AliasEvent]:
        """Recorded changes of aliases, oldest first."""
        if self.database is not None:
            if not self.there():
                return []
            with tables.opened(self.database) as db:
                return log.alias_events(tables.model_tags(db, name))
        return log.alias_history(self.client, name)

    def inventory(self, tags: Sequence[str], metrics: Sequence[str] | None) -> Inventory:
        """Every version, and these tags and metrics of every run; None for all metrics."""
        if self.database is None:
            _ = self.client
        return inventory.read(self.uri, tags, metrics)

    def end_killed(self, run_id: str) -> None:
        """End a run that was killed, and the runs nested in it, as KILLED."""
        page = self.client.search_runs(
            [e.experiment_id for e in self.client.search_experiments()],
            f"tags.`mlflow.parentRunId` = '{run_id}'",
        )
        for run in [*page, self.client.get_run(run_id)]:
            active = run.info.status in ("RUNNING", "SCHEDULED")
            # `mlflow run` reports FAILED if its process was killed.
            if active or (run.info.run_id == run_id and run.info.status == "FAILED"):
                self.client.set_terminated(run.info.run_id, "KILLED")

    def annotate(self, version: Version, text: str) -> None:
        """Write a note on a version; an empty one removes it."""
        if text:
            self.client.set_model_version_tag(version.name, str(version.number), names.NOTE, text)
        elif names.NOTE in version.tags:
            self.client.delete_model_version_tag(version.name, str(version.number), names.NOTE)

    def delete(self, version: Version) -> None:
        """Delete a version; its run and files stay."""
        self.client.delete_model_version(version.name, str(version.number))


def picture_name(path: str) -> str:
    """A readable name of an artifact: `samples, step 40`, `before after`."""
    name = path.rpartition("/")[2].rpartition(".")[0]
    if image_step(path) >= 0:
        name = f"{name.partition('+')[0]}, step {image_step(path)}"
    return name.replace("_", " ")


def image_step(path: str) -> int:
    """The step in the name that MLflow gives a logged image, -1 without one."""
    words = path.split("+")
    try:
        return int(words[words.index("step") + 1])
    except (ValueError, IndexError):
        return -1


def by_step(path: str) -> tuple[str, int, str]:
    """Sorts artifacts by their paths, images of one name by their steps."""
    return path.partition("+")[0], image_step(path), path


def _merge(
    kept: dict[Key, Version], name: str, page: list[Version], *, last: bool, below: int | None = None
) -> None:
    """Add a page; versions in its range that are not on it were deleted."""
    low = 0 if last else min((v.number for v in page), default=0)
    for key in [k for k in kept if k[0] == name and k[1] >= low and (below is None or k[1] < below)]:
        del kept[key]
    kept.update({(name, v.number): v for v in page})


def _run(run: Any) -> Run:
    return Run(
        run_id=run.info.run_id,
        title=run.info.run_name or "",
        artifacts=run.info.artifact_uri or "",
        experiment=run.info.experiment_id,
        status=run.info.status,
        started=run.info.start_time or 0,
        ended=run.info.end_time or 0,
        tags=dict(run.data.tags),
        params=dict(run.data.params),
        metrics=dict(run.data.metrics),
    )


def _check_tables(uri: str) -> None:
    """Refuse a database without MLflow's tables: to connect would make them."""
    import sqlalchemy

    engine = sqlalchemy.create_engine(uri)
    try:
        if not sqlalchemy.inspect(engine).has_table("experiments"):
            raise StoreError(f"{uri} holds no tables of MLflow")
    finally:
        engine.dispose()


def _failure(error: BaseException) -> str:
    """What is wrong with a server, for a sentence that begins with its address."""
    text = str(error)
    if "Max retries exceeded" in text or "Connection" in text or "timed out" in text.lower():
        return "does not answer"
    return f"does not answer as an MLflow server: {' '.join(text.split())[:200]}"


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None
