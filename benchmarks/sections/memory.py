"""(h) Peak memory of each kind of work, in a process of its own."""

from __future__ import annotations

import json

from benchmarks.bench import Bench, say
from benchmarks.clock import child
from benchmarks.results import Row, Section, at_most
from benchmarks.sections.whole import PEAK_MIB

OURS = ("base", "fisher", "forget", "evaluate")
REFERENCE = ("reference_base", "fisher_loop", "fisher_vmap", "reference_forget")
WORDS = {
    "nothing": "the imports and the images alone",
    "base": "ours: base",
    "fisher": "ours: Fisher diagonal",
    "forget": "ours: forgetting",
    "evaluate": "ours: evaluation",
    "reference_base": "reference: base",
    "fisher_loop": "reference: Fisher diagonal, batch 1",
    "fisher_vmap": "Fisher diagonal by vmap",
    "reference_forget": "reference: forgetting",
}

NOTE = (
    "Peak resident memory of a process with PyTorch in it and, but for the Fisher diagonal and forgetting, all images. "
    "The whole commands' peak is in section d."
)


def run(bench: Bench) -> Section:
    """Start each kind of work and read its peak."""
    budget = bench.budget
    kinds = ("nothing", "fisher") if budget.mode == "smoke" else ("nothing", *OURS, *REFERENCE)
    sizes = {"nothing": 1, "evaluate": 1, "fisher": budget.memory_samples,
             "fisher_loop": budget.loop_samples, "fisher_vmap": max(50, budget.vmap_samples)}  # fmt: skip
    rows = []
    for kind in kinds:
        size = sizes.get(kind, budget.memory_steps)
        say(f"memory of {WORDS[kind]}")
        peak, on_device, _ = measured(bench, kind, size)
        rows.append(Row(WORDS[kind], peak, "MiB", at_most(PEAK_MIB) if kind in OURS else None))
        if bench.device.type == "cuda":
            rows.append(Row(f"{WORDS[kind]}, on the device", on_device, "MiB"))
    return Section("h", "Peak memory", rows, [NOTE])


def measured(bench: Bench, kind: str, size: int) -> tuple[float, float, float]:
    """Peak MiB, MiB on the device, and seconds of the loop, of a kind of work."""
    words = ("-m", "benchmarks.workload", kind, str(size))
    done = child((*words, "--dataset", bench.budget.dataset, "--device", str(bench.device)))
    told = json.loads(done.output)
    return done.peak_mib, told["device_mib"], told["seconds"]
