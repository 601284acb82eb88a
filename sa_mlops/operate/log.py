"""`log`: the entries of the log, and whether they form one unbroken chain. Reads a sqlite store without MLflow."""

from __future__ import annotations

from typing import Any

from sa_mlops import environment
from sa_mlops.errors import plain
from sa_mlops.registry import inventory, names
from sa_mlops.registry import log as entries
from sa_mlops.stages.result import Result


def log(verify: bool, head: str = "") -> Result:
    """List the entries; with `verify` check them.

    Parameters
    ----------
    head : hash, or its beginning, of an entry that must be there; empty for none.
    """
    held = inventory.read(environment.store())
    found = entries.entries(held.records)
    newest = entries.heads(found)
    document: dict[str, Any] = {"entries": [e.document() for e in found], "heads": newest}
    if not verify:
        return Result(document, "\n".join(plain(e.line()) for e in found) or "The log has no entry yet.")
    aliases = held.aliases.get(names.GENERATORS, {})
    problem = next(entries.problems(held.records, aliases, head), None)
    document |= {"sound": problem is None, "problem": problem}
    unbroken = f"{len(found)} entries, unbroken; newest: {', '.join(newest) or 'none'}"
    return Result(document, unbroken if problem is None else plain(f"BROKEN: {problem}"), problem is None)
