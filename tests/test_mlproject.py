"""MLproject is what the configs say, and the configs are what users were promised."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from mlflow.projects.utils import load_project
from stores import ROOT

from sa_mlops import cli
from sa_mlops.config import ENTRY_POINTS

PROJECT = yaml.safe_load((ROOT / "MLproject").read_text())
POINTS = PROJECT["entry_points"]

PROMISED = {
    "digit": "1",
    "ewc_lambda": "auto",
    "replay_ratio": 1.0,
    "recipe": "fast",
    "harden": "false",
    "fisher_samples": "50000",
    "z_dim": "8",
    "dataset": "mnist",
    "seed": "0",
    "device": "auto",
    "from_version": "auto",
}
"""The vocabulary that every entry point shares, with its defaults."""


def config_of(name: str) -> type:
    return ENTRY_POINTS["forget" if name == "main" else name].config


def test_mlproject_is_what_the_script_writes() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "mlproject.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_entry_point_is_there_and_main_is_forget() -> None:
    assert POINTS.keys() == {"main", *ENTRY_POINTS}
    assert POINTS["main"] == POINTS["forget"]


@pytest.mark.parametrize("name", POINTS)
def test_defaults_are_the_configs(name: str) -> None:
    definitions = config_of(name).parameters()
    written = POINTS[name]["parameters"]
    assert written.keys() == definitions.keys()
    read = {key: definitions[key].parse(key, entry["default"]) for key, entry in written.items()}
    assert read == {key: p.default for key, p in definitions.items()}


@pytest.mark.parametrize("name", POINTS)
def test_the_shared_vocabulary_has_the_promised_defaults(name: str) -> None:
    written = {key: entry["default"] for key, entry in POINTS[name]["parameters"].items()}
    assert {key: written[key] for key in PROMISED if key in written} == {
        key: value for key, value in PROMISED.items() if key in written
    }


def test_sequential_forgets_the_first_five_by_default() -> None:
    assert POINTS["sequential"]["parameters"]["digits"]["default"] == "0,1,2,3,4"


@pytest.mark.parametrize("name", POINTS)
def test_mlflow_builds_a_command_that_the_command_line_reads_back(name: str, tmp_path: Path) -> None:
    point = load_project(str(ROOT)).get_entry_point(name)
    words = shlex.split(point.compute_command({}, str(tmp_path)))
    assert words[:3] == ["python", "-m", "sa_mlops"]
    command, definitions = words[3], config_of(name).parameters()
    with cli.group.commands[command].make_context(command, words[4:]) as context:
        values = {key: p.parse(key, context.params[key]) for key, p in definitions.items()}
    assert config_of(name)(**values) == config_of(name)()


def test_a_value_with_spaces_or_shell_signs_stays_one_value(tmp_path: Path) -> None:
    point = load_project(str(ROOT)).get_entry_point("forget")
    nasty = "a b; touch owned $(id) 'x'"
    words = shlex.split(point.compute_command({"from_version": nasty}, str(tmp_path)))
    assert words[words.index("--from-version") + 1] == nasty
