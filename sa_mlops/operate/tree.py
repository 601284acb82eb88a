"""`lineage`: the tree of versions. Imports neither torch nor matplotlib."""

from __future__ import annotations

from sa_mlops.registry import lineage, names, tracking
from sa_mlops.registry.log import alias_history
from sa_mlops.stages.result import Result


def lineage_report() -> Result:
    """The tree of versions, and the recorded changes of aliases."""
    client = tracking.connect()
    found = lineage.read(client)
    events = alias_history(client, names.GENERATORS)
    lines = list(lineage.tree_lines(found))
    lines += [f"@{e.alias}: {_number(e.previous)} -> {_number(e.number)}" for e in events]
    text = (
        "\n".join(lines)
        or "No version is registered yet: `sa-mlops forget` makes a base and a forgetting version."
    )
    document = {
        "versions": [e.document() for e in found.entries],
        "aliases": [{"alias": e.alias, "from": e.previous, "to": e.number, "at": e.at} for e in events],
    }
    return Result(document, text)


def _number(version: int | None) -> str:
    return "nothing" if version is None else f"v{version}"
