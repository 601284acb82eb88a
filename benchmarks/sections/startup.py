"""(g) Start-up of the command and the terminal UI, its keys, `lineage` and `audit`, on stores of many versions."""

from __future__ import annotations

from functools import partial

from benchmarks.bench import Bench, say, store_here, store_uri
from benchmarks.clock import Child, ChildError, Contender, Times, alternate, child
from benchmarks.results import Row, Section, at_most, timed
from benchmarks.stores import populate
from benchmarks.terminal import Terminal

STARTS = {
    "`python -c pass`": ("-c", "pass"),
    "`sa-mlops --help`": ("-m", "sa_mlops", "--help"),
    "`sa-tui --help`": ("-m", "tui", "--help"),
    "import of the terminal UI's app": ("-c", "import tui.app"),
}
NOTE = (
    "Wall time of processes that had been started once before. The stores hold one version written by MLflow and "
    "copies of its rows, each with a run and its metrics. The terminal UI runs in a pseudo-terminal: painted is when "
    "its first panel is there, read when the number of versions is; a key is timed to the first paint after it."
)
TARGETS = {"`sa-mlops --help`": at_most(0.3), "`sa-tui --help`": at_most(0.3)}
UP, DOWN, HOME, END = "\x1b[A", "\x1b[B", "\x1b[H", "\x1b[F"
KEYS = {
    "an arrow key": (DOWN, UP) * 6,
    "another tab": ("t",) * 4,
    "another screen": ("2", "1") * 3,
    "first and last row": (END, HOME) * 2,
}
"""Keys as a terminal sends them, pressed with the cursor on the first row; each changes the screen."""


def run(bench: Bench) -> Section:
    """Start each command several times in turn, then `lineage` and `audit` once on each store."""
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
        say(f"lineage and audit of {count:,} versions")
        with store_here() as folder:
            populate(folder, count)
            for words in (("lineage",), ("audit", "--classes", "1")):
                done = child(("-m", "sa_mlops", *words), folder)
                where = f"`sa-mlops {words[0]}`, {count:,} versions"
                rows.append(Row(where, done.seconds, "s", at_most(2.0) if words[0] == "audit" else None))
            say(f"terminal UI on {count:,} versions")
            rows += terminal(store_uri(folder), count, bench.budget.repeats)
    return Section("g", "Start-up", rows, [NOTE])


def lineage(count: int) -> Child:
    """`sa-mlops lineage` on a new store of `count` versions."""
    with store_here() as folder:
        populate(folder, count)
        return child(("-m", "sa_mlops", "lineage"), folder)


def terminal(uri: str, count: int, starts: int) -> list[Row]:
    """Start the terminal UI on a store several times, and press keys."""
    painted, read = [], []
    pressed: dict[str, list[float]] = {name: [] for name in KEYS}
    for start in range(-1, starts):
        with Terminal(uri) as ui:
            first, whole = ui.until("Lineage"), ui.until(f"{count} version")
            if start < 0:
                continue
            painted.append(first)
            read.append(whole)
            ui.send(HOME)
            for name, keys in KEYS.items():
                pressed[name] += [ui.press(key) for key in keys]
    where = f"`sa-tui`, {count:,} versions"
    return [
        timed(f"{where}: painted", Times(tuple(painted)), "s", at_most(1.0)),
        timed(f"{where}: store read", Times(tuple(read)), "s", at_most(2.0)),
        *(
            timed(f"{where}: {name}", Times(tuple(seconds)), "s", at_most(0.1))
            for name, seconds in pressed.items()
        ),
    ]
