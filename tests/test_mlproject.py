"""MLproject agrees with the configs, and the configs with the promised vocabulary."""

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
from sa_mlops.config import ENTRY_POINTS, ClassesConfig, RunConfig

PROJECT = yaml.safe_load((ROOT / "MLproject").read_text())
POINTS = PROJECT["entry_points"]

PROMISED = {
    "classes": "1",
    "method": "selective-amnesia",
    "net": "auto",
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


OLD = {"main": "forget", "oracle": "retrain"}


def config_of(name: str) -> type[RunConfig]:
    return ENTRY_POINTS[OLD.get(name, name)].config


def read(name: str, given: dict[str, str], folder: Path) -> RunConfig:
    """The config that `mlflow run -e NAME` with these -P comes to."""
    words = shlex.split(load_project(str(ROOT)).get_entry_point(name).compute_command(given, str(folder)))
    assert words[:3] == ["python", "-m", "sa_mlops"]
    command = cli.group.commands[words[3]]
    with command.make_context(words[3], words[4:]) as context:
        definitions = config_of(name).parameters()
        return config_of(name)(**cli.given_options(definitions, context.params))


def test_mlproject_is_generated_by_the_script() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "mlproject.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_entry_point_is_there_and_main_is_forget() -> None:
    assert POINTS.keys() == {"main", "oracle", *ENTRY_POINTS}
    assert POINTS["main"] == POINTS["forget"]


@pytest.mark.parametrize("name", POINTS)
def test_defaults_are_the_configs(name: str) -> None:
    definitions = config_of(name).parameters()
    written = POINTS[name]["parameters"]
    assert written.keys() == definitions.keys()
    parsed = {key: definitions[key].parse(key, entry["default"]) for key, entry in written.items()}
    assert parsed == {key: p.default for key, p in definitions.items()}


@pytest.mark.parametrize("name", POINTS)
def test_the_shared_vocabulary_has_the_promised_defaults(name: str) -> None:
    written = {key: entry["default"] for key, entry in POINTS[name]["parameters"].items()}
    own = {"sequential": "0,1,2,3,4", "tune": "1,8", "compare": "1,0"}
    promised = PROMISED | ({"classes": own[name]} if name in own else {})
    assert {key: written[key] for key in promised if key in written} == {
        key: value for key, value in promised.items() if key in written
    }


@pytest.mark.parametrize("name", POINTS)
def test_mlflow_builds_a_command_that_the_command_line_reads_back(name: str, tmp_path: Path) -> None:
    assert read(name, {}, tmp_path) == config_of(name)()


@pytest.mark.parametrize(
    ("name", "given", "classes"),
    [
        ("forget", {"classes": "3,7"}, ("3", "7")),
        ("forget", {"digit": "3"}, ("3",)),
        ("main", {"digits": "7,3"}, ("7", "3")),
        ("oracle", {"digit": "3"}, ("3",)),
        ("sequential", {"digits": "4,2"}, ("4", "2")),
    ],
)
def test_old_names_of_parameters_and_entry_points_still_work(
    name: str, given: dict[str, str], classes: tuple[str, ...], tmp_path: Path
) -> None:
    config = read(name, given, tmp_path)
    assert isinstance(config, ClassesConfig)
    assert config.classes == classes


def test_a_settings_file_is_not_overridden_by_defaults_that_mlflow_passes(tmp_path: Path) -> None:
    path = tmp_path / "best.json"
    path.write_text('{"replay_ratio": 0.5, "lr": 0.01}')
    config = read("forget", {"settings": str(path), "lr": "0.001"}, tmp_path)
    assert (config.spelled()["replay_ratio"], config.spelled()["lr"]) == ("0.5", "0.001")


@pytest.mark.parametrize("option", ["surrogate", "settings"])
def test_a_relative_path_is_refused_with_the_folder_in_which_mlflow_runs_the_command(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").mkdir()
    point = load_project(str(ROOT)).get_entry_point("forget")
    words = shlex.split(point.compute_command({option: "mine"}, str(tmp_path)))
    monkeypatch.chdir(ROOT)
    assert cli.main(words[words.index("sa_mlops") + 1 :]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"sa-mlops: --{option}: 'mine'")
    assert str(ROOT) in error


def test_a_value_with_spaces_or_shell_signs_stays_one_value(tmp_path: Path) -> None:
    point = load_project(str(ROOT)).get_entry_point("forget")
    nasty = "a b; touch owned $(id) 'x'"
    words = shlex.split(point.compute_command({"from_version": nasty}, str(tmp_path)))
    assert words[words.index("--from-version") + 1] == nasty
