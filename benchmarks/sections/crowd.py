"""(k) Two trainings at once on the same cores, beside one after the other."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from benchmarks.bench import Bench, say
from benchmarks.clock import child
from benchmarks.results import Row, Section, at_most
from sa_mlops.environment import SPIN, SPINS

SPIN_LIMITS = {SPINS: "as the commands set it", "30000000": "OpenMP's own"}
MOST = 1.2

NOTE = (
    "Seconds of two processes that train at once, over their seconds one after the other, with as many threads each as "
    "there are cores, by how often an idle thread looks for work before it sleeps (`GOMP_SPINCOUNT`)."
)


def run(bench: Bench) -> Section:
    """Start two trainings one after the other and at once, for each limit; in the smoke mode for the first."""
    ratios, seconds = [], []
    limits = list(SPIN_LIMITS.items())
    for spins, words in limits[:1] if bench.budget.mode == "smoke" else limits:
        say(f"two trainings at once, {words}")
        alone = sum(_seconds(bench, spins) for _ in range(2))
        with ThreadPoolExecutor(2) as pool:
            both = max(pool.map(partial(_seconds, bench), [spins, spins]))
        target = at_most(MOST) if spins == SPINS else None
        ratios.append(Row(f"two at once over one after the other: {words}", both / alone, "×", target))
        seconds.append(Row(f"one after the other: {words}", alone, "s"))
    return Section("k", "Two runs at once", [*ratios, *seconds], [NOTE])


def _seconds(bench: Bench, spins: str) -> float:
    words = ("-m", "benchmarks.workload", "forget", str(bench.budget.memory_steps))
    threads = str(os.cpu_count() or 1)
    where = ("--dataset", bench.budget.dataset, "--device", str(bench.device))
    return child((*words, *where), None, **{SPIN: spins, "OMP_NUM_THREADS": threads}).seconds
