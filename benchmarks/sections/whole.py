"""(d) The whole command: `sa-mlops forget` from nothing, and by reuse, as a user meets it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.bench import Bench, say, store_uri
from benchmarks.clock import Child, Times, child
from benchmarks.results import Row, Section, at_most, timed

PEAK_MIB = 1.2 * 1024
OTHERS = (7, 3, 5)


def run(bench: Bench) -> Section:
    """Run the commands in a store of their own."""
    budget = bench.budget
    if not budget.whole_repeats:
        return Section("d", "The whole command", [], ["Left out of this mode."])
    full = budget.mode == "full"
    device = ("--device", str(bench.device))
    small = ("--dataset", "digits", "--steps", "20", "--fisher-samples", "500", "--from-version", "base")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def command(*words: str) -> Child:
            say("sa-mlops " + " ".join(words))
            return child(("-m", "sa_mlops", *words, *device), folder, MLFLOW_TRACKING_URI=store_uri(folder))

        def forget(label: int) -> Child:
            return command("forget", "--classes", str(label), *(() if full else small))

        first: list[Child] = [] if full else [command("base", "--dataset", "digits", "--steps", "60")]
        first.append(forget(1))
        other: list[Child] = []
        again: list[Child] = []
        for repeat in range(budget.whole_repeats):
            other.append(forget(OTHERS[repeat % len(OTHERS)]))
            again.append(forget(1))
        classes = "0,1,2,3,4" if full else "0,2"
        sequence = command("sequential", "--classes", classes, *(() if full else small))
    others, same = (Times(tuple(c.seconds for c in found)) for found in (other, again))
    nothing = sum(c.seconds for c in first)
    rows = [
        Row("from nothing / by reuse, another class", nothing / others.median, "×"),
        timed("`forget` by reuse: another class", others, "s", at_most(20), "base, judges, Fisher diagonal reused"),
        timed("`forget` by reuse: the same again", same, "s", at_most(20), "everything reused"),
        Row(
            "`forget` from nothing", nothing, "s",
            note="judges, base, Fisher diagonal, forgetting, measures, registration",
        ),
        Row(
            f"`sequential`, {classes.count(',') + 1} classes", sequence.seconds, "s", at_most(90) if full else None,
            note="base and judges reused",
        ),
        Row(
            "peak memory of all these commands", max(c.peak_mib for c in (*first, *other, *again, sequence)), "MiB",
            at_most(PEAK_MIB),
        ),
    ]  # fmt: skip
    small_print = "" if full else " On `digits`, with few steps, in this mode."
    return Section(
        "d", "The whole command", rows, [f"Wall time of processes, start-up included.{small_print}"]
    )
