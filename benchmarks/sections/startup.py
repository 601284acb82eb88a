"""(g) Start-up of the command and the terminal UI, and `lineage` on stores of many versions."""

from __future__ import annotations

from functools import partial

from benchmarks.bench import Bench, say, store_here
from benchmarks.clock import Child, ChildError, Contender, Times, alternate, child
from benchmarks.results import Row, Section, at_most, timed
from benchmarks.stores import populate

STARTS = {
    "`python -c pass`": ("-c", "pass"),
    "`sa-mlops --help`": ("-m", "sa_mlops", "--help"),
    "import of the terminal UI's command": ("-c", "import tui.__main__"),
    "import of the terminal UI's app": ("-c", "import tui.app"),
}
NOTE = (
    "Wall time of processes that had been started once before. The stores hold one version written by MLflow and "
    "copies of its rows, each with a run and its metrics."
)
TARGETS = {"`sa-mlops --help`": at_most(0.3)}


def run(bench: Bench) -> Section:
    """Start each command several times in turn, then `lineage` once on each store."""
    rows: list[Row] = []
    there = dict(STARTS)
    children: dict[str, list[Child]] = {}
    for name, words in STARTS.items():
        try:
            child(words)
        except ChildError as error:
            rows.append(Row(name, None, "s", TARGETS.get(name), note=f"cannot be measured: {error}"))
            del there[name]

    def start(name: str) -> None:
        children.setdefault(name, []).append(child(there[name]))

    alternate(
        {name: Contender(partial(start, name)) for name in there},
        bench.budget.starts,
        bench.device,
        warm_up=False,
    )
    rows = [
        timed(name, Times(tuple(c.seconds for c in found)), "s", TARGETS.get(name))
        for name, found in children.items()
    ] + rows
    for count in bench.budget.versions:
        say(f"lineage of {count:,} versions")
        done = lineage(count)
        rows.append(Row(f"`sa-mlops lineage`, {count:,} versions", done.seconds, "s"))
    return Section("g", "Start-up", rows, [NOTE])


def lineage(count: int) -> Child:
    """`sa-mlops lineage` on a new store of `count` versions."""
    with store_here() as folder:
        populate(folder, count)
        return child(("-m", "sa_mlops", "lineage"), folder)
