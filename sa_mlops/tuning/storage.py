"""Storage of studies: a journal file on one machine, or a database for several machines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import mlflow
import optuna
import sqlalchemy
from filelock import FileLock
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock
from optuna.trial import FrozenTrial

from sa_mlops.errors import CommandError, in_one_line

HEARTBEAT, GRACE = 15, 60
"""Seconds between heartbeats of a trial in a database, and seconds without one after which the trial counts as dead."""
LOCK = int.from_bytes(b"sa-tune", "big")
"""Key of the advisory lock in PostgreSQL that `alone` holds."""
AGAIN = "again"
"""User attribute of a trial: number of the lost trial that it repeats."""


class StudyError(CommandError):
    """The study cannot be opened. The message is one line."""


class JournalLock(BaseJournalFileLock):
    """Excludes other writers of a journal. The system releases it when a process dies; Optuna's own locks stay.

    Parameters
    ----------
    path : of the journal.
    """

    def __init__(self, path: Path) -> None:
        self._lock = FileLock(f"{path}.writer")

    def acquire(self) -> bool:
        """Wait for the lock."""
        self._lock.acquire()
        return True

    def release(self) -> None:
        """Release it."""
        self._lock.release()


def beside_store(name: str) -> str:
    """The journal file of a study: in the folder of a local tracking store, else in the current one."""
    match = re.match(r"(?:sqlite:///|file://)(.+)", mlflow.get_tracking_uri())
    folder = Path(match[1]) if match else Path("mlflow.db")
    return str((folder if folder.is_dir() else folder.parent).absolute() / "studies" / f"{name}.journal")


def open_storage(place: str) -> BaseStorage:
    """The storage at `place`: a journal file, or the URL of a database, in which trials send heartbeats.

    Raises StudyError if it cannot be opened.
    """
    with one_line(f"study storage {place}"):
        if place.endswith(".journal"):
            path = Path(place).absolute()
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = JournalLock(path)
            mend(path, lock)
            return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
        return RDBStorage(
            place,
            engine_kwargs={"pool_pre_ping": True},
            heartbeat_interval=HEARTBEAT,
            grace_period=GRACE,
            heartbeat_stale_trial_callback=again,
        )


def mend(path: Path, lock: JournalLock) -> None:
    """Remove the incomplete last line of a journal, whose writer was killed.

    Raises StudyError if another line is broken; it names the line and the command that removes it.
    """
    if not path.exists():
        return
    lock.acquire()
    try:
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            with path.open("r+b") as file:
                file.truncate(len(whole))
    finally:
        lock.release()
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            json.loads(line)
        except ValueError:
            raise StudyError(
                f"study storage {path}: line {number} is broken; copy the file, then remove the line with "
                f"`sed -i {number}d {path}`"
            ) from None


@contextmanager
def alone(place: str) -> Iterator[None]:
    """Exclude all other commands that use this storage, to read and change something in one go.

    Raises StudyError if the storage cannot be reached.
    """
    with ExitStack() as held:
        with one_line(f"study storage {place}"):
            if place.endswith(".journal"):
                Path(place).parent.mkdir(parents=True, exist_ok=True)
                held.enter_context(FileLock(f"{place}.alone"))
            else:
                # The lock belongs to the connection, so that it ends with this process.
                engine = sqlalchemy.create_engine(place, poolclass=sqlalchemy.NullPool)
                connection = held.enter_context(engine.connect())
                connection.execute(sqlalchemy.text("SELECT pg_advisory_lock(:key)"), {"key": LOCK})
        yield


@contextmanager
def one_line(subject: str) -> Iterator[None]:
    """Errors inside as a StudyError: drivers, SQLAlchemy, Optuna and the file system raise their own kinds."""
    try:
        yield
    except StudyError:
        raise
    except Exception as error:
        raise StudyError(f"{subject}: {in_one_line(error)}") from error


def again(study: optuna.Study, trial: FrozenTrial) -> None:
    """Queue the values of a trial whose worker died, including those that it had not asked for yet."""
    values = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
    if values:
        study.enqueue_trial(values, user_attrs={AGAIN: trial.number}, skip_if_exists=False)
