"""Compare what two checkouts train: `python scripts/compare_checkouts.py OLD NEW`.

Both run the same commands on the same data with one interpreter, each in a store of its own. Weights must agree bit by
bit, and so must the training curves and the results whose names both have. Exit status: 0 equal, 1 different, 2 a
command failed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

RENAMED = {"oracle": "retrain"}
"""Stage of an older version -> its name today."""
UNTIMED = ("time.", "system/", "progress.", "progress/")
"""Metrics that differ from run to run."""

SHORT = """
import dataclasses, importlib, sys
from sa_mlops import cli
from sa_mlops.config import ENTRY_POINTS
for entry in ENTRY_POINTS.values():
    importlib.import_module(entry.module)
seen = set()
def visit(value):
    if isinstance(value, dict):
        for below in value.values():
            visit(below)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        kind = type(value).__name__
        if kind == "JudgeSettings":
            object.__setattr__(value, "epochs", 0)
            seen.add(kind)
        elif kind == "HardenSettings":
            object.__setattr__(value.optimisation, "steps", 60)
            seen.add(kind)
def shorten(kind):
    made = kind.__init__
    def init(self, *args, **kwargs):
        made(self, *args, **kwargs)
        visit(self)
    kind.__init__ = init
    seen.add(kind.__name__)
for name, module in list(sys.modules.items()):
    if name.startswith("sa_mlops"):
        for key, value in list(vars(module).items()):
            visit(value)
            if key == "HardenSettings" and value.__module__ == name:
                shorten(value)
            if key == "MIN_JUDGE_STEPS":
                setattr(module, key, 100)
                seen.add(key)
if len(seen) != 3:
    sys.exit("the recipes of judges and hardening were not found; compare with --full")
sys.exit(cli.main(sys.argv[1:]))
"""
"""A program that runs a command with 100 steps a judge and 60 of hardening, which no option shortens."""


@dataclass(frozen=True)
class Made:
    """What one checkout made.

    Attributes
    ----------
    tensors : stage and order of a version, such as `forget 2` -> its weights.
    curves : the same -> metric -> points (step, value) as `train.*` has them.
    results : the same -> metric -> value.
    """

    tensors: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    curves: dict[str, dict[str, list[tuple[int, float]]]] = field(default_factory=dict)
    results: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """The comparison of one version: its tensors' largest difference, and the names of what differs."""

    stage: str
    tensors: int
    largest: float
    curves: int
    different: tuple[str, ...]


def commands(dataset: str, full: bool) -> list[list[str]]:
    """The stages in order: judges, base, Fisher, forget, sequential, hardening, retrained control."""

    def words(stage: str, *more: str, steps: int = 0, fisher: bool = False) -> list[str]:
        short = [] if full else (["--steps", str(steps)] if steps else [])
        samples = ["--fisher-samples", "2000"] if fisher and not full else []
        return [stage, "--dataset", dataset, "--device", "cpu", *more, *short, *samples]

    start = ("--from-version", "1")
    return [
        words("judge"),
        words("base", steps=300),
        words("fim", *start, fisher=True),
        words("forget", "--digit", "1", *start, steps=60, fisher=True),
        words("sequential", "--digits", "0,8", *start, steps=60, fisher=True),
        words("forget", "--digit", "1", "--harden", "true", *start, steps=60, fisher=True),
        words("oracle", "--digit", "1", steps=300),
    ]


def make(checkout: Path, store: Path, todo: Sequence[list[str]], threads: int, short: bool) -> None:
    """Run the commands in a checkout; what they say goes to `log.txt` in the store's folder.

    Raises
    ------
    SystemExit : with status 2, if a command fails.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "PYTHON"))} | {
        "PYTHONPATH": str(checkout),
        "PYTHONSAFEPATH": "1",
        "MLFLOW_TRACKING_URI": f"sqlite:///{store}/mlflow.db",
        "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "false",
    }
    environment |= {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "MKL", "OPENBLAS")}
    program = ("-c", SHORT) if short else ("-m", "sa_mlops")
    with (store / "log.txt").open("w") as log:
        for words in todo:
            print(f"{checkout.name}: sa-mlops {' '.join(words)}", file=sys.stderr, flush=True)
            done = subprocess.run(
                [sys.executable, *program, *words],
                cwd=store,
                env=environment,
                stdout=log,
                stderr=log,
                check=False,
            )
            if done.returncode:
                lines = (store / "log.txt").read_text().splitlines()[-8:]
                print(*lines, f"{checkout}: status {done.returncode}", sep="\n", file=sys.stderr)
                raise SystemExit(2)


def state(checkout: Path) -> str:
    """The commit of a checkout and a hash of what was changed since."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=checkout, capture_output=True, text=True, check=True
        ).stdout

    return (
        git("rev-parse", "HEAD").strip() + "-" + hashlib.sha256(git("diff", "HEAD").encode()).hexdigest()[:12]
    )


def old_side(checkout: Path, folder: Path, todo: Sequence[list[str]], threads: int, short: bool) -> None:
    """Make the old side in `folder`, unless it holds the same already."""
    wanted = json.dumps([state(checkout), torch.__version__, threads, short, todo])
    note = folder / "made.json"
    if note.exists() and note.read_text() == wanted:
        return
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise SystemExit(f"{folder} holds something else; remove it or name another folder")
    make(checkout, folder, todo, threads, short)
    note.write_text(wanted)


def read(store: Path) -> Made:
    """All versions of a store, in the order in which they were registered."""
    made = Made()
    orders: dict[str, int] = {}
    with sqlite3.connect(f"{(store / 'mlflow.db').as_uri()}?mode=ro", uri=True) as database:
        rows = database.execute(
            "SELECT v.name, v.version, v.run_id, m.artifact_location, t.value FROM model_versions v"
            " JOIN model_version_tags t ON t.name = v.name AND t.version = v.version AND t.key = 'sa.stage'"
            " JOIN logged_models m ON 'models:/' || m.model_id = v.source ORDER BY v.name, v.version"
        ).fetchall()
        for _, _, run, location, stage in rows:
            word = RENAMED.get(stage, stage)
            orders[word] = orders.get(word, 0) + 1
            key = f"{word} {orders[word]}"
            weights = next(Path(location.removeprefix("file://")).rglob("weights.safetensors"))
            made.tensors[key] = load_file(weights)
            made.curves[key] = _curves(database, run)
            latest = database.execute("SELECT key, value FROM latest_metrics WHERE run_uuid = ?", (run,))
            made.results[key] = {
                k.replace("digit.", "class."): v
                for k, v in latest
                if not k.startswith((*UNTIMED, "train.", "train/"))
            }
    return made


def _curves(database: sqlite3.Connection, run: str) -> dict[str, list[tuple[int, float]]]:
    curves: dict[str, list[tuple[int, float]]] = {}
    query = "SELECT key, step, value FROM metrics WHERE run_uuid = ? AND key LIKE 'train_%' ORDER BY key, step, value"
    for key, step, value in database.execute(query, (run,)):
        curves.setdefault(key.replace("train.", "train/"), []).append((step, value))
    return curves


def compare(old: Made, new: Made) -> Iterator[Row]:
    """A row for every version of either side."""
    for key in {**old.tensors, **new.tensors}:
        if key not in old.tensors or key not in new.tensors:
            yield Row(key, 0, float("nan"), 0, ("missing in " + ("NEW" if key in old.tensors else "OLD"),))
            continue
        before, after = old.tensors[key], new.tensors[key]
        largest, different = 0.0, sorted(before.keys() ^ after.keys())
        for name in before.keys() & after.keys():
            a, b = before[name], after[name]
            if a.dtype != b.dtype or a.shape != b.shape:
                different.append(name)
            elif a.numpy().tobytes() != b.numpy().tobytes():
                different.append(name)
                largest = max(largest, float((a.double() - b.double()).abs().max()))
        first, second = old.curves[key], new.curves[key]
        different += sorted(k for k in first.keys() | second.keys() if first.get(k) != second.get(k))
        known = old.results[key].keys() & new.results[key].keys()
        different += sorted(k for k in known if old.results[key][k] != new.results[key][k])
        yield Row(key, len(before), largest, len(first), tuple(different))


def report(rows: Sequence[Row]) -> str:
    """The table."""
    lines = [f"{'stage':<12} {'tensors':>7} {'curves':>6} {'largest difference':>18}  equal"]
    for r in rows:
        more = f" and {len(r.different) - 3} more" if len(r.different) > 3 else ""
        said = "no: " + ", ".join(r.different[:3]) + more if r.different else "yes"
        lines.append(f"{r.stage:<12} {r.tensors:>7} {r.curves:>6} {r.largest:>18.3g}  {said}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run both sides, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("old", type=Path, help="checkout to compare with")
    parser.add_argument("new", type=Path, help="checkout that is tested")
    parser.add_argument("--full", action="store_true", help="the real recipes instead of short ones")
    parser.add_argument("--dataset", default="mnist", help="mnist (default) or digits")
    parser.add_argument("--threads", type=int, default=1, help="threads of each side (default 1)")
    parser.add_argument("--keep", type=Path, help="folder that keeps what OLD made for the next comparison")
    options = parser.parse_args(arguments)
    todo = commands(options.dataset, options.full)
    with tempfile.TemporaryDirectory(prefix="sa-compare-") as name:
        old, new = (options.keep or Path(name) / "old").absolute(), Path(name) / "new"
        new.mkdir()
        old_side(options.old.absolute(), old, todo, options.threads, not options.full)
        make(options.new.absolute(), new, todo, options.threads, not options.full)
        rows = list(compare(read(old), read(new)))
    print(report(rows))
    same = bool(rows) and not any(r.different for r in rows)
    print("equal" if same else "different")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
