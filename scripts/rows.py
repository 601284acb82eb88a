"""Reproduce a row of every method, and of both phases, by the command in `compare`'s table, on scikit-learn's digits.

`python scripts/rows.py --out build/rows.json` makes a base and copies the store. `compare` runs in the one, the command
of each row in the other; weights must be equal byte for byte, and measures must be equal.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from mlflow.tracking import MlflowClient

ROOT = Path(__file__).resolve().parent.parent
BASE = "sa-mlops base --dataset digits --steps 200"
COMPARE = "sa-mlops compare --dataset digits --from-version 1 --fisher-samples 2000 --classes 1 --seeds 0"
PHASES = ("selective-amnesia+distil", "selective-amnesia+harden")
MEASURES = (
    "forget.prob",
    "forget.prob_autolevels",
    "screen.prob",
    "retain.accuracy",
    "retain.fid",
    "retain.recall",
)


MAIN = "import shlex, sys; from sa_mlops.cli import main; sys.exit(max(main(shlex.split(c)[1:]) for c in sys.argv[1:]))"


def run(folder: Path, *commands: str) -> list[dict[str, Any]]:
    """The documents of `sa-mlops` commands with the store in `folder`, in one process."""
    environment = os.environ | {"MLFLOW_TRACKING_URI": uri(folder), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", MAIN, *(f"{command} --json" for command in commands)], cwd=folder, env=environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{commands} exit with {done.returncode}: {done.stderr[-2000:]}")
    documents, text = [], done.stdout.strip()
    while text:
        document, end = json.JSONDecoder().raw_decode(text)
        documents.append(document)
        text = text[end:].lstrip()
    return documents


def uri(folder: Path) -> str:
    """The store in a folder."""
    return f"sqlite:///{folder}/mlflow.db"


def weights(folder: Path, version: str) -> str:
    """Hash of the weights of a version such as `models:/sa-cvae/3`."""
    client = MlflowClient(uri(folder))
    _, name, number = version.rsplit("/", 2)
    model = client.get_model_version(name, number).source.removeprefix("models:/")
    place = client.get_logged_model(model).artifact_location.removeprefix("file://")
    (file,) = Path(place).rglob("*.safetensors")
    return hashlib.sha256(file.read_bytes()).hexdigest()


def differences(table: Path, row: dict[str, Any], other: Path, made: dict[str, Any]) -> list[str]:
    """Between a row and the version that its command made in another store; none if it is reproduced."""
    wrong = [
        f"{key}: {row[key]} in the table, {made['metrics'].get(key)} by its command"
        for key in MEASURES
        if row[key] != made["metrics"].get(key)
    ]
    if weights(table, row["version"]) != weights(other, made["version"]):
        wrong.append("the weights differ")
    return wrong


def main() -> int:
    """Run it; returns 1 if a row is not reproduced."""
    from sa_mlops.methods.interface import known
    from sa_mlops.registry.stores import correct_places

    parser = argparse.ArgumentParser(description="Reproduce the rows of a comparison by their commands.")
    parser.add_argument("--methods", default=",".join((*known(), *PHASES)), help="as for compare")
    parser.add_argument("--steps", default="60", help="of every method but the control")
    parser.add_argument("--out", type=Path, help="file for the findings")
    arguments = parser.parse_args()
    out = arguments.out and arguments.out.resolve()
    with tempfile.TemporaryDirectory() as name:
        table, other = Path(name, "table"), Path(name, "other")
        table.mkdir()
        run(table, BASE)
        shutil.copytree(table, other)
        correct_places(other / "mlflow.db")
        compare = f"{COMPARE} --steps {arguments.steps} --methods {arguments.methods}"
        rows = [row for row in run(table, compare)[0]["rows"] if row["method"] != "base"]
        made = run(other, *(row["command"] for row in rows))
        found = {
            row["method"]: differences(table, row, other, version)
            for row, version in zip(rows, made, strict=True)
        }
    for method, wrong in found.items():
        print(f"{method}: {'; '.join(wrong) or 'reproduced'}")
    if out is not None:
        out.write_text(json.dumps({"command": compare, "differences": found}, indent=1) + "\n")
    return int(any(found.values()))


if __name__ == "__main__":
    sys.exit(main())
