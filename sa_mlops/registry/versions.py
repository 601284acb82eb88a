"""Versions in MLflow's registry: search, resolve, register. Without torch, so that the terminal UI starts fast."""

from __future__ import annotations

import heapq
import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.util import get_temp_dir
from pathlib import Path
from typing import TypeVar

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.store.entities import PagedList
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

from sa_mlops.errors import CommandError, in_one_line
from sa_mlops.parameters import ParameterError
from sa_mlops.registry import names, signing, stores
from sa_mlops.registry.tracking import absent, asked_again
from sa_mlops.registry.version import Version, refuse_withdrawn

PAGE = 200
DESCRIPTIONS = {
    names.GENERATORS: "Class-conditional generators: bases, every step of forgetting, and controls retrained without "
    "the forgotten classes. The alias `champion` is set by `sa-mlops promote` alone, after the gates.",
    names.FISHERS: "Fisher diagonals of generators: how much each parameter matters for the retained classes.",
    names.JUDGES: "Classifiers that measure, attack, or serve in training. Those that measure never train.",
}
"""Text of a registered model's page."""
T = TypeVar("T")


class VersionError(CommandError):
    """A version that does not exist or is damaged. The message is one line."""


class LostError(VersionError):
    """A version without files in this store."""


def from_entity(entity: ModelVersion) -> Version:
    """The record of an MLflow model version."""
    source = names.MODEL_SOURCE.fullmatch(str(entity.source or ""))
    return Version(
        name=entity.name,
        number=int(entity.version),
        tags=dict(entity.tags or {}),
        aliases=tuple(sorted(str(a) for a in entity.aliases or ())),
        run_id=entity.run_id or "",
        model_id=source[1] if source else None,
        created=entity.creation_timestamp or 0,
        description=entity.description or "",
    )


def all_versions(client: MlflowClient, name: str) -> Iterator[Version]:
    """Every version of a registered model, newest first, a page at a time."""
    yield from search(client, f"name = '{name}'")


def search(client: MlflowClient, text: str) -> Iterator[Version]:
    """Versions that MLflow's filter `text` selects, newest first."""
    order = ["version_number DESC"]
    for entity in paged(
        lambda token: client.search_model_versions(text, max_results=PAGE, order_by=order, page_token=token)
    ):
        yield from_entity(entity)


def paged(call: Callable[[str | None], PagedList[T]]) -> Iterator[T]:
    """The items of all pages; `call` reads the page that a token names."""
    token = None
    while True:
        page = call(token)
        yield from page
        token = page.token
        if not token:
            return


def find(client: MlflowClient, name: str, tags: Mapping[str, str]) -> Version | None:
    """The newest version of `name` that carries exactly these tag values, still has its files and was not withdrawn.

    A stage is found under its older name too.
    """
    older = [old for old, present in names.OLD_STAGES.items() if present == tags.get(names.STAGE)]
    found = [tagged(client, name, asked) for asked in (tags, *({**tags, names.STAGE: old} for old in older))]
    for version in heapq.merge(*found, key=lambda v: -v.number):
        try:
            files(version)
        except VersionError:
            continue
        if version.withdrawn:
            continue
        return get(client, name, version.number)
    return None


def tagged(client: MlflowClient, name: str, tags: Mapping[str, str]) -> Iterator[Version]:
    """Versions of `name` with exactly these tag values, newest first.

    MLflow's filters cannot escape a quote: such values stay out of them.
    """
    simple = [f"tags.`{key}` = '{value}'" for key, value in tags.items() if "'" not in value]
    for version in search(client, " AND ".join([f"name = '{name}'", *simple])):
        if tags.items() <= version.tags.items():
            yield version


def get(client: MlflowClient, name: str, number: int) -> Version:
    """Version `number` with its aliases. Raises VersionError if it does not exist."""
    try:
        return from_entity(client.get_model_version(name, str(number)))
    except MlflowException as error:
        if not absent(error):
            raise
        raise VersionError(f"{name} has no version {number}") from error


def resolve(client: MlflowClient, name: str, word: str) -> Version:
    """The version that `word` names: `3`, `v3`, `latest` or another alias.

    Raises VersionError if it does not exist. URIs and paths are refused without a look-up.
    """
    number = re.fullmatch(r"v?([1-9][0-9]{0,8})", word)
    if number:
        return get(client, name, int(number[1]))
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,63}", word):
        raise VersionError(f"{name} has no version {word[:80]!r}")
    try:
        # `latest` is MLflow's own alias: the newest version there is.
        return get(client, name, int(client.get_model_version_by_alias(name, word).version))
    except MlflowException as error:
        if not absent(error):
            raise
        raise VersionError(f"{name} has no version or alias {word!r}") from None


def given(
    client: MlflowClient,
    word: str,
    *,
    name: str = names.GENERATORS,
    option: str = "VERSION",
    others: str = "",
) -> Version:
    """The version that a user names with `option`, by default the argument of a command.

    Raises ParameterError if it does not exist; it says what does, and `others` that are allowed.
    """
    try:
        return resolve(client, name, word)
    except VersionError:
        raise ParameterError(option, word, describe_known(client, name) + others) from None


def describe_known(client: MlflowClient, name: str) -> str:
    """The words that `resolve` accepts now, for error messages."""
    newest = next(all_versions(client, name), None)
    if newest is None and name == names.GENERATORS and (others := renamed(client)):
        return f"it after {rename_back(others[0])}: the registered model was renamed"
    if newest is None:
        entry = {names.GENERATORS: "base", names.FISHERS: "fim", names.JUDGES: "judge"}[name]
        return f"it after `sa-mlops {entry}`: {name} has no version yet"
    known = dict(client.get_registered_model(name).aliases)
    aliases = [a for a in sorted({*known, names.LATEST_ALIAS}) if re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", a)]
    return f"a version number of {name} up to {newest.number} or an alias ({', '.join(aliases)})"


def renamed(client: MlflowClient) -> list[str]:
    """Names of registered models, other than this project's, whose newest version is a generator of this project."""
    return [
        model.name
        for model in client.search_registered_models(max_results=PAGE)
        if model.name not in names.MODELS
        and any(
            names.FORGOTTEN in (v.tags or {}) or names.CONFIG in (v.tags or {})
            for v in model.latest_versions or ()
        )
    ]


def rename_back(name: str) -> str:
    """The command that gives a registered model its name back."""
    call = f"MlflowClient().rename_registered_model({name!r}, '{names.GENERATORS}')"
    return f'`python -c "from mlflow import MlflowClient; {call}"`'


def files(version: Version) -> Path:
    """Local folder of a version's files; from a server they are downloaded once a process, and deleted at its end.

    Raises LostError if the source is not a logged model of the store, or the files are missing; VersionError if they
    may not be read; CommandError if the store does not answer.
    """
    if version.model_id is None:
        raise LostError(f"{version.uri} does not come from a logged model of this store; it is not read")
    try:
        folder = _fetched(version.model_id)
        empty = not any(folder.iterdir())
    except PermissionError as error:
        raise VersionError(f"{version.uri}: its files may not be read ({error})") from None
    except (MlflowException, OSError) as error:
        if not absent(error):
            raise CommandError(
                f"{version.uri}: its files cannot be fetched ({in_one_line(error, 160)})"
            ) from None
        raise LostError(f"{version.uri} has lost its files ({in_one_line(error, 160)})") from None
    if empty:
        raise LostError(f"{version.uri} has lost its files")
    return folder


def net(version: Version) -> Path:
    """Local folder of a version's weights and config, which are to be loaded.

    Raises CommandError if the version was withdrawn; VersionError as in `files`; SigningError if a key is trusted, and
    the files are signed for another version.
    """
    refuse_withdrawn(version)
    folder = files(version) / place(version)
    signing.require_own(folder, version.uri)
    return folder


def place(version: Version) -> str:
    """The folder of weights and config among a version's files; empty for the top."""
    return "artifacts" if version.name == names.GENERATORS else ""


_FETCHED: dict[tuple[str, str], Path] = {}


def _fetched(model_id: str) -> Path:
    uri = mlflow.get_tracking_uri()
    source = f"models:/{model_id}"
    if not stores.remote(uri):
        # MLflow's download writes into a local folder, which a store of another user does not allow.
        place = stores.local(str(MlflowClient().get_logged_model(model_id).artifact_location))
        return place or Path(mlflow.artifacts.download_artifacts(source))
    if (uri, model_id) not in _FETCHED:
        if not MlflowClient().list_logged_model_artifacts(model_id):
            raise FileNotFoundError(f"the server has no files of {model_id}")
        # Without `dst_path` MLflow downloads them into a new folder each time, and never removes it.
        folder = tempfile.mkdtemp(dir=get_temp_dir())
        _FETCHED[uri, model_id] = Path(mlflow.artifacts.download_artifacts(source, dst_path=folder))
    return _FETCHED[uri, model_id]


def register(
    client: MlflowClient, name: str, *, model_id: str, run_id: str, tags: Mapping[str, str], description: str
) -> Version:
    """Register a finished logged model as a new version of `name`; its tags are set in the same call.

    The logged model names the version in the tag from which MLflow's pages link it. A logged model becomes a single
    version for a run, even if an answer of the server is lost.
    """
    source = f"models:/{model_id}"

    @asked_again
    def known() -> list[ModelVersion]:
        found = paged(
            lambda token: client.search_model_versions(
                f"name = '{name}' AND run_id = '{run_id}'", max_results=PAGE, page_token=token
            )
        )
        return sorted((v for v in found if v.source == source), key=lambda v: int(v.version))

    @asked_again
    def create() -> ModelVersion:
        try:
            return client.create_model_version(
                name, source, run_id=run_id, model_id=model_id, tags=dict(tags), description=description
            )
        except MlflowException:
            if remote and (made := known()):
                return made[0]
            raise

    remote = stores.remote(mlflow.get_tracking_uri())
    _make_model(client, name)
    entity = create()
    if remote:
        entity, *others = known()
        for other in others:
            client.delete_model_version(name, other.version)
    link = [{"name": name, "version": str(entity.version)}]
    asked_again(client.set_logged_model_tags)(model_id, {MLFLOW_MODEL_VERSIONS: json.dumps(link)})
    return from_entity(entity)


@asked_again
def _make_model(client: MlflowClient, name: str) -> None:
    try:
        client.create_registered_model(name, description=DESCRIPTIONS.get(name))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
