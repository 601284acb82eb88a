"""Run many `forget` commands against one server: `python scripts/load.py --runs 32 --at-once 8`.

`MLFLOW_TRACKING_URI` names the server, with an empty store or a base as version 1; without it the script starts one as
`make server` does. Every run must succeed and leave one complete, measured version, and the store must be healthy.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import crowd
from crowd import ROOT, Command, Crowd
from invariants import aftermath, state
from serving import serve


def launch(many: Crowd, runs: int, at_once: int) -> list[tuple[Command, float]]:
    """Run `runs` commands, at most `at_once` at a time; returns each with its seconds."""
    going: list[Command] = []
    done: list[tuple[Command, float]] = []
    while len(done) < runs:
        while len(going) < at_once and len(done) + len(going) < runs:
            going.append(many.forget(len(done) + len(going)))
        for command in going:
            if command.process.poll() is not None or command.seconds > crowd.LIMIT:
                command.process.kill()
                done.append((command, command.seconds))
                print(f"{len(done)}/{runs}: status {command.process.wait()}", file=sys.stderr, flush=True)
        going = [c for c in going if c.process.poll() is None]
        time.sleep(0.05)
    return done


def judge(before: dict[str, Any], found: dict[str, Any], done: list[tuple[Command, float]]) -> list[str]:
    """Violations, one line each."""
    left, fixed = found["left"], found["fixed"]
    wrong = [f"exit status {c.process.returncode}: {c.said}" for c, _ in done if c.process.returncode != 0]
    made = sorted(set(left["versions"]) - set(before["versions"]))
    generators = [uri for uri in made if uri.startswith("models:/sa-cvae/")]
    if len(generators) != len(done):
        wrong.append(f"{len(done)} runs made {len(generators)} versions")
    wrong += left["broken"]
    wrong += [
        f"the run of {uri} is {status}" for uri, status in left["versions"].items() if status != "FINISHED"
    ]
    wrong += [f"run {run_id} stays RUNNING" for run_id in left["running"]]
    if (left["aliases"], left["events"]) != (before["aliases"], before["events"]):
        wrong.append(f"aliases moved: {before['aliases']} -> {left['aliases']}")
    wrong += [f"doctor: {finding}" for finding in found["wrong"]]
    if fixed != left:
        wrong.append("doctor --fix found something to fix")
    return wrong


def campaign(runs: int, at_once: int) -> dict[str, Any]:
    """Run everything; returns the figures."""
    given = os.environ.get("MLFLOW_TRACKING_URI", "").startswith("http")
    quiet = crowd.environment()
    with nullcontext() if given else serve() as server, tempfile.TemporaryDirectory() as folder:
        os.environ |= quiet | ({} if server is None else server.environment)
        return loaded(Path(folder), runs, at_once)


def loaded(folder: Path, runs: int, at_once: int, *, brief: bool = False) -> dict[str, Any]:
    """Run everything on the server that `MLFLOW_TRACKING_URI` names, empty or with a base as version 1."""
    many = Crowd(folder, {}, brief=brief)
    many.stock(state()["versions"])
    before = state()
    begin = time.monotonic()
    done = launch(many, runs, at_once)
    seconds = time.monotonic() - begin
    found = aftermath()
    wrong = judge(before, found, done)
    took = [s for _, s in done]
    return {
        "runs": runs,
        "at_once": at_once,
        "failed": sum(c.process.returncode != 0 for c, _ in done),
        "versions": len(found["left"]["versions"]) - len(before["versions"]),
        "wrong": wrong,
        "seconds": round(seconds, 1),
        "runs_per_minute": round(60 * runs / seconds, 2),
        "seconds_a_run": {"median": round(statistics.median(took), 1), "longest": round(max(took), 1)},
        "cores": len(os.sched_getaffinity(0)),
        "commit": crowd.commit(),
    }


def main() -> int:
    """Run it; returns 1 after a violation."""
    parser = argparse.ArgumentParser(description="Start many forget runs at once against one MLflow server.")
    parser.add_argument("--runs", type=int, default=32, help="total number of runs")
    parser.add_argument("--at-once", type=int, default=8, help="concurrent runs")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "load.json", help="file for the figures")
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    sys.path.insert(0, str(ROOT))
    figures = campaign(arguments.runs, arguments.at_once)
    out.write_text(json.dumps(figures, indent=1) + "\n")
    print("{runs} runs, {failed} failed, {versions} versions, {runs_per_minute} a minute".format(**figures))
    for line in figures["wrong"]:
        print(line, file=sys.stderr)
    return 1 if figures["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
