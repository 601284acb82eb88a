"""`erase`: replace and withdraw every version that holds the classes of a request.

A plan comes first. Once it is approved, its steps run under an entry `approval` of the log. Each step is done once, so
that the same command resumes an erasure that was interrupted.
"""

from __future__ import annotations

import getpass
from contextlib import suppress

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from sa_mlops.errors import CommandError, Stopped, plain
from sa_mlops.operate.plan import Plan, Request, plan, successor_config
from sa_mlops.registry import gates, log, names, publish, tracking, versions
from sa_mlops.registry.log import Entry
from sa_mlops.registry.version import Version
from sa_mlops.registry.versions import LostError
from sa_mlops.stages import forget
from sa_mlops.stages.progress import say
from sa_mlops.stages.result import Result

MAX_REASON = 500


def erase(request: Request, reason: str) -> Result:
    """Carry a plan out: approve, make successors, move aliases, withdraw or delete.

    Raises CommandError if a successor fails a gate; nothing has been withdrawn then.

    Parameters
    ----------
    reason : why it was approved, for the log; not used to resume an interrupted erasure.
    """
    steps = plan(request)
    if steps.empty and steps.approval is None:
        return Result(steps.document() | {"erased": True}, steps.next())
    client = tracking.connect()
    approval = steps.approval or _approve(client, request, reason)
    try:
        return _carry_out(client, steps, approval)
    except (Stopped, KeyboardInterrupt):
        say("the erasure is not finished; the same command, without --approve, resumes it")
        raise


def _carry_out(client: MlflowClient, steps: Plan, approval: Entry) -> Result:
    request = steps.request
    made = {old.uri: _make(client, old, request) for old, new in steps.successors if new is None}
    steps = plan(request) if made else steps  # with the Fisher diagonals that were made on the way
    successors = made | {old.uri: new for old, new in steps.successors if new is not None}
    moved = [_move(client, old, successors) for old, _ in steps.withdraw]
    for version, why in steps.withdraw:
        _withdraw(client, version, f"{why}; {approval.content.get('reason', '')}", request.delete, approval)
    gone = [v.uri for v, _ in steps.withdraw]
    log.append(
        client, names.GENERATORS, "erasure", approval=approval.hash, withdrawn=len(gone),
        successors=sorted({v.uri for v in successors.values()}),
    )  # fmt: skip
    document = steps.document() | {
        "erased": True,
        "approval": approval.document(),
        "made": {old: new.uri for old, new in successors.items()},
    }
    verb = "deleted" if request.delete else "withdrawn"
    lines = [
        *(f"{new.uri} ({new.title}) takes the place of {old}" for old, new in successors.items()),
        *(line for lines in moved for line in lines),
        f"{verb}: {', '.join(gone) or 'nothing'}",
    ]
    if request.delete:
        lines.append("MLflow keeps deleted files until `mlflow gc --backend-store-uri URI` removes them")
    return Result(document, "\n".join(map(plain, lines)))


def _approve(client: MlflowClient, request: Request, reason: str) -> Entry:
    words = " ".join(reason.split())
    if not words or len(words) > MAX_REASON or not words.isprintable():
        raise CommandError(f"an approval needs a reason of at most {MAX_REASON} printable characters")
    who = "unknown"
    with suppress(OSError, KeyError):
        who = getpass.getuser()
    return log.append(client, names.GENERATORS, "approval", reason=words, by=who, **request.content())


def _make(client: MlflowClient, old: Version, request: Request) -> Version:
    """A version of the old one that has forgotten the classes as well, and passes every gate."""
    number = names.parse_uri(forget.run(successor_config(old, request)).document["version"])
    assert number is not None
    made = versions.get(client, *number)
    verdicts = gates.judge_version(
        made, tracking.run_metrics(client, made.run_id), gates.read_limits(request.gates)
    )
    if failed := [v.gate for v in verdicts if not v.passed]:
        cure = "nothing was withdrawn; give --settings with other options of `forget`"
        raise CommandError(
            f"{made.uri} cannot take the place of {old.uri}: it fails {', '.join(failed)}; {cure}"
        )
    return made


def _move(client: MlflowClient, old: Version, successors: dict[str, Version]) -> list[str]:
    lines = []
    for alias in versions.get(client, old.name, old.number).aliases:
        if alias == names.BASE_ALIAS or old.uri not in successors:
            log.remove_alias(client, old.name, alias, old.number)
            lines.append(f"@{alias} is removed from {old.uri}")
        else:
            new = successors[old.uri]
            log.record_alias(client, old.name, alias, new.number, old.number)
            lines.append(f"@{alias} moved from {old.uri} to {new.uri}")
    return lines


def _withdraw(client: MlflowClient, version: Version, reason: str, delete: bool, approval: Entry) -> None:
    """Make the weights unreadable, log it, then tag or delete the version. Each step may be repeated."""
    with suppress(LostError):
        publish.withdraw(client, version, reason)
    kind = "deletion" if delete else "withdrawal"
    known = log.read(client, names.GENERATORS)
    if not any(e.kind == kind and e.content.get("uri") == version.uri for e in known):
        log.append(client, names.GENERATORS, kind, uri=version.uri, approval=approval.hash)
    number = str(version.number)
    if not delete:
        client.set_model_version_tag(version.name, number, names.WITHDRAWN, reason)
        return
    try:
        client.delete_logged_model(str(version.model_id))
    except MlflowException as error:
        if not tracking.absent(error):  # deleted before an interruption
            raise
    client.delete_model_version(version.name, number)
