"""The log of a registered model: a hash chain of the changes of its aliases, promotions, approvals and erasures.

An entry is a tag `sa.log.<milliseconds>-<sha256>` of the registered model. Its value is JSON, its name holds the hash
of that text, and `after` holds the hashes of the entries that nothing followed when it was written. Entries written at
once fork the chain; the next one joins the forks. Reading needs neither torch nor MLflow.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sa_mlops.errors import CommandError
from sa_mlops.registry import names

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

PREFIX = "sa.log."
EVENT = "sa.alias_event."
"""Prefix of the tags in which older code recorded changes of aliases."""
NAME = re.compile(r"sa\.log\.(\d{13})-([0-9a-f]{64})")
DEPTH = 8
"""Levels of JSON in an entry, at most."""
RACES = 20
"""Attempts to set an alias while other processes change it."""
START = "start"
"""Kind of the entry that begins the chain. Its text follows from the store, so that racing writers write the same."""


class LogError(CommandError):
    """An entry of the log that cannot have been written by this project. The message is one line."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry.

    Attributes
    ----------
    hash : sha256 of its text.
    at : milliseconds since 1970 by the clock of the machine that wrote it; clocks differ.
    kind : `start`, `alias`, `promotion`, or another word for what was done.
    after : hashes of the entries that it follows.
    content : its other fields, in JSON types.
    """

    hash: str
    at: int
    kind: str
    after: tuple[str, ...]
    content: Mapping[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The entry in JSON types."""
        fields = {"hash": self.hash, "at": self.at, "kind": self.kind, "after": list(self.after)}
        return dict(self.content) | fields

    def line(self) -> str:
        """The entry in one line: hash, time in UTC, kind, content."""
        content = _rounded(self.content)
        words = " ".join(f"{k}={json.dumps(v, sort_keys=True)}" for k, v in sorted(content.items()))
        return f"{self.hash[:12]}  {_time(self.at)}  {self.kind}  {words}".rstrip()


def _rounded(value: Any) -> Any:
    """A JSON value with four digits of its numbers."""
    match value:
        case float():
            return float(f"{value:.4g}")
        case Mapping():
            return {key: _rounded(item) for key, item in value.items()}
        case list():
            return [_rounded(item) for item in value]
        case _:
            return value


def parse(key: str, text: str) -> Entry:
    """The entry in a tag.

    Raises LogError if the tag's name does not hold the hash of its text, or the text is not an entry of the log.
    """
    name = NAME.fullmatch(key)
    if name is None:
        raise LogError(f"{key[:100]!r} is no name of an entry")
    at, digest = int(name[1]), name[2]
    if _sha256(text) != digest:
        raise LogError(f"the entry {digest[:12]} of {_time(at)} was altered: its text has another hash")
    try:
        content = json.loads(text)
        after, kind, recorded = content.pop("after"), content.pop("kind"), content.pop("at")
        hashes = all(re.fullmatch("[0-9a-f]{64}", h) for h in after)
        good = hashes and isinstance(kind, str) and recorded == at and _shallow(content, DEPTH)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        good = False
    if not good:
        raise LogError(f"the entry {digest[:12]} of {_time(at)} was forged: its text is not that of an entry")
    return Entry(digest, at, kind, tuple(after), content)


def _shallow(value: Any, levels: int) -> bool:
    """Whether a JSON value has at most so many levels."""
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return all(levels > 1 and _shallow(item, levels - 1) for item in items)


def entries(tags: Mapping[str, str]) -> list[Entry]:
    """The sound entries among the tags of a registered model, every one after those that it follows."""
    found: dict[str, Entry] = {}
    for key, text in tags.items():
        if key.startswith(PREFIX):
            try:
                entry = parse(key, text)
            except LogError:
                continue
            found[entry.hash] = entry
    depth = _depths(found)
    return sorted(found.values(), key=lambda e: (depth[e.hash], e.at, e.hash))


def _depths(found: Mapping[str, Entry]) -> dict[str, int]:
    """Hash -> length of the longest chain below the entry. Hashes make no rings."""
    depth: dict[str, int] = {}
    waiting = list(found)
    while waiting:
        entry = found[waiting[-1]]
        before = [h for h in entry.after if h in found]
        missing = [h for h in before if h not in depth]
        if missing:
            waiting += missing
        else:
            depth[waiting.pop()] = 1 + max((depth[h] for h in before), default=-1)
    return depth


def heads(found: Iterable[Entry]) -> list[str]:
    """Hashes of the entries that no other follows, sorted."""
    known = list(found)
    return sorted({e.hash for e in known} - {h for e in known for h in e.after})


def append(client: MlflowClient, name: str, kind: str, **content: Any) -> Entry:
    """Write an entry after all that are known, and return it."""
    tags, created = _model(client, name)
    known = entries(tags)
    if not known:
        known = [_write(client, name, kind=START, at=created, after=[], older=_digest(tags))]
    return _write(client, name, kind=kind, at=int(time.time() * 1000), after=heads(known), **content)


def _write(client: MlflowClient, name: str, **content: Any) -> Entry:
    text = json.dumps(content, sort_keys=True, allow_nan=False)
    key = f"{PREFIX}{content['at']:013d}-{_sha256(text)}"
    client.set_registered_model_tag(name, key, text)
    return parse(key, text)


def records(client: MlflowClient, name: str) -> dict[str, str]:
    """The tags of a registered model, among them its log; none if the model does not exist."""
    return _model(client, name)[0]


def read(client: MlflowClient, name: str) -> list[Entry]:
    """The sound entries of a registered model's log, in order."""
    return entries(records(client, name))


def problems(tags: Mapping[str, str], aliases: Mapping[str, int], head: str = "") -> Iterator[str]:
    """Signs that the log was tampered with, one line each, the first broken link first.

    Parameters
    ----------
    tags, aliases : of the registered model.
    head : hash, or its beginning, of an entry that must be there: one that was noted elsewhere.
    """
    for key in sorted(k for k in tags if k.startswith(PREFIX)):
        try:
            parse(key, tags[key])
        except LogError as error:
            yield str(error)
    found = entries(tags)
    known = {e.hash for e in found}
    starts = [e for e in found if e.kind == START]
    for entry in found:
        what = f"the entry {entry.hash[:12]} of {_time(entry.at)} ({entry.kind})"
        for before in entry.after:
            if before not in known:
                yield f"{what} follows {before[:12]}, which is missing: an entry was removed or altered"
        if (not entry.after and entry.kind != START) or entry in starts[1:]:
            yield f"{what} follows nothing: it begins a second log"
        if entry.kind == START and entry.content.get("older") != _digest(tags):
            yield f"the records of older code ({EVENT}*) are not those of {_time(entry.at)}, when the log began"
    if found and not starts:
        yield "the entry that begins the log is missing"
    if head and not any(h.startswith(head) for h in known):
        yield f"the entry {head[:12]} is missing: the newest entries were removed, or the log was rewritten"
    recorded = {e.alias: e.number for e in alias_events(tags)}
    if names.CHAMPION_ALIAS in aliases:
        recorded.setdefault(names.CHAMPION_ALIAS, None)
    for alias, number in sorted(recorded.items()):
        if aliases.get(alias) != number:
            said = "nothing" if number is None else f"v{number}"
            seen = f"points at v{aliases[alias]}" if alias in aliases else "points at nothing"
            cause = "it was moved without an entry, or the newest entries were removed"
            yield f"the alias {alias} {seen}, but its last entry says {said}: {cause}"


def _model(client: MlflowClient, name: str) -> tuple[dict[str, str], int]:
    """Tags of a registered model, and when it was created; neither if it does not exist."""
    for model in client.search_registered_models(f"name = '{name}'", max_results=1):
        return dict(model.tags), int(model.creation_timestamp or 0)
    return {}, 0


def _digest(tags: Mapping[str, str]) -> str:
    """Hash of all records of older code."""
    return _sha256(json.dumps(sorted((k, v) for k, v in tags.items() if k.startswith(EVENT))))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _time(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


@dataclass(frozen=True, slots=True)
class AliasEvent:
    """A change of an alias.

    Attributes
    ----------
    alias, previous, number : the alias, the version it pointed at before, and since; None for none.
    at : milliseconds since 1970 by the clock of the machine that made the change.
    """

    alias: str
    previous: int | None
    number: int | None
    at: int


def remove_alias(client: MlflowClient, name: str, alias: str, previous: int) -> None:
    """Take an alias away, and log it."""
    append(client, name, "alias", alias=alias, previous=previous, version=None)
    client.delete_registered_model_alias(name, alias)


def record_alias(
    client: MlflowClient,
    name: str,
    alias: str,
    number: int,
    previous: int | None,
    kind: str = "alias",
    **content: Any,
) -> int | None:
    """Point an alias at a version, log the change, and return where the alias points now.

    Of changes that race, the one that is last in `alias_history` wins: each writer compares the alias with the log
    afterwards, and the last one to compare has seen them all.
    """
    from mlflow.exceptions import MlflowException

    append(client, name, kind, alias=alias, previous=previous, version=number, **content)
    for attempt in range(RACES):
        try:
            client.set_registered_model_alias(name, alias, str(number))
        except MlflowException:
            # Another process may have made the alias at the same moment.
            if attempt:
                raise
        last = [e.number for e in alias_history(client, name) if e.alias == alias][-1]
        if last is None or alias_map(client, name).get(alias) == last:
            break
        number = last
    return alias_map(client, name).get(alias)


def alias_map(client: MlflowClient, name: str) -> dict[str, int]:
    """Alias -> version number of a registered model; empty if it does not exist.

    MLflow's search returns versions without their aliases, so they are read from the model.
    """
    found = client.search_registered_models(f"name = '{name}'", max_results=1)
    return {str(a): int(n) for model in found for a, n in dict(model.aliases).items()}


def alias_history(client: MlflowClient, name: str) -> list[AliasEvent]:
    """All recorded changes of the aliases of a registered model, oldest first."""
    return alias_events(records(client, name))


def alias_events(tags: Mapping[str, str]) -> list[AliasEvent]:
    """The changes in the tags of a registered model, in the order made; unreadable tags are ignored."""
    logged = (e.document() for e in entries(tags) if "alias" in e.content)
    return [*old_events(tags), *_events(logged, "previous", "version")]


def old_events(tags: Mapping[str, str]) -> list[AliasEvent]:
    """The changes that older code recorded, in the order made; unreadable tags are ignored."""
    found = []
    for key, text in sorted(tags.items()):
        if key.startswith(EVENT):
            try:
                event = json.loads(text)
                found.append((int(event.get("order", 0)), event))
            except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
                continue
    return _events((event for _, event in sorted(found, key=lambda pair: pair[0])), "from", "to")


def _events(found: Iterable[Mapping[str, Any]], previous: str, number: str) -> list[AliasEvent]:
    made = []
    for e in found:
        try:
            before, now = (None if e[key] is None else int(e[key]) for key in (previous, number))
            made.append(AliasEvent(str(e["alias"]), before, now, int(e["at"])))
        except (ValueError, KeyError, TypeError, OverflowError):
            continue
    return made
