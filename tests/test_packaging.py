"""What a user installs: one source of versions, a package with everything in it, and make targets that exist."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
GENERATED = ("requirements.txt", "requirements-dev.txt", "conda.yaml", "python_env.yaml")
TARGETS = {
    "audit",
    "help",
    "forget",
    "test",
    "campaign",
    "lint",
    "tui",
    "ui",
    "server",
    "tune",
    "bench",
    "clean",
}


def pins(name: str) -> list[Requirement]:
    lines = (line.split("#")[0].strip() for line in (ROOT / name).read_text().splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("-r ")]


def pinned_for(machine: str, name: str = "requirements.txt") -> dict[str, Version]:
    """Name -> version that `machine` installs."""
    return {
        canonicalize_name(pin.name): Version(next(iter(pin.specifier)).version)
        for pin in pins(name)
        if pin.marker is None or pin.marker.evaluate({"platform_machine": machine})
    }


def run_pins(root: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / "scripts" / "pins.py"), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The generated files, what they are generated from, and the script, in a folder of their own."""
    (tmp_path / "scripts").mkdir()
    for name in (*GENERATED, "pyproject.toml", "scripts/pins.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_generated_files_agree_with_pyproject() -> None:
    result = run_pins(ROOT, "--check")
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("name", GENERATED)
def test_check_names_a_file_that_was_edited(copy: Path, name: str) -> None:
    with (copy / name).open("a") as file:
        file.write("# edited\n")
    result = run_pins(copy, "--check")
    assert result.returncode == 1
    assert [line.split()[1] for line in result.stderr.splitlines()] == [name]


def test_check_leaves_files_alone(copy: Path) -> None:
    (copy / "conda.yaml").write_text("name: other\n")
    run_pins(copy, "--check")
    assert (copy / "conda.yaml").read_text() == "name: other\n"


def test_pins_writes_missing_files_again(copy: Path) -> None:
    for name in GENERATED:
        (copy / name).unlink()
    assert run_pins(copy).returncode == 0
    assert {n: (copy / n).read_text() for n in GENERATED} == {n: (ROOT / n).read_text() for n in GENERATED}


def test_a_version_outside_its_range_is_refused_in_one_line(copy: Path) -> None:
    text = (copy / "pyproject.toml").read_text()
    (copy / "pyproject.toml").write_text(re.sub(r'"click>=[^"]*"', '"click<1"', text))
    result = run_pins(copy)
    assert result.returncode == 1
    assert re.fullmatch(r"pins: click \S+ is installed, and pyproject.toml needs click<1\n", result.stderr)


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_line_pins_one_version(name: str) -> None:
    assert all([spec.operator for spec in pin.specifier] == ["=="] for pin in pins(name))


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_every_dependency_is_pinned_inside_its_range(machine: str) -> None:
    pinned = pinned_for(machine)
    direct = [Requirement(text) for text in PROJECT["project"]["dependencies"]]
    outside = [str(r) for r in direct if pinned[canonicalize_name(r.name)] not in r.specifier]
    assert outside == []


@pytest.mark.parametrize(
    ("machine", "torch", "torchvision"), [("x86_64", "2.14.1", "0.29.1"), ("aarch64", "2.9.1", "0.24.1")]
)
def test_torch_and_torchvision_are_a_pair_on_each_machine(machine: str, torch: str, torchvision: str) -> None:
    pinned = pinned_for(machine)
    assert (pinned["torch"], pinned["torchvision"]) == (Version(torch), Version(torchvision))


def test_torch_pins_its_cuda_libraries_itself() -> None:
    names = {name for name in pinned_for("x86_64") if name.startswith(("cuda-", "nvidia-", "triton"))}
    assert names == {"nvidia-ml-py"}


def test_both_environments_install_requirements_txt_on_one_python() -> None:
    conda = yaml.safe_load((ROOT / "conda.yaml").read_text())
    virtual = yaml.safe_load((ROOT / "python_env.yaml").read_text())
    assert {"pip": ["-r requirements.txt"]} in conda["dependencies"]
    assert virtual["dependencies"] == ["-r requirements.txt"]
    assert f"python={virtual['python']}" in conda["dependencies"]
    assert (
        Version(virtual["python"]) in Requirement(f"python{PROJECT['project']['requires-python']}").specifier
    )


def test_wheel_has_the_style_sheets_and_the_commands(tmp_path: Path) -> None:
    source = tmp_path / "source"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for package in ("sa_mlops", "tui"):
        shutil.copytree(ROOT / package, source / package, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-qq",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
    ]
    subprocess.run([*command, str(source)], check=True, timeout=120)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        packed = set(wheel.namelist())
    wanted = {
        path.relative_to(ROOT).as_posix()
        for package in ("sa_mlops", "tui")
        for pattern in ("*.py", "*.tcss")
        for path in (ROOT / package).rglob(pattern)
    }
    missing = wanted - packed
    assert missing == set()
    assert {"sa_mlops/cli.py", "tui/__main__.py"} <= packed


def make(*arguments: str) -> str:
    """What make prints, untouched by a make that runs these tests."""
    theirs = {"ARGS", "MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MLFLOW_TRACKING_URI"}
    environment = {name: value for name, value in os.environ.items() if name not in theirs}
    command = ["make", "-C", str(ROOT), "--no-print-directory", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=60, env=environment
    ).stdout


def test_make_alone_lists_every_target() -> None:
    listed = re.findall(r"^  (\w+) +\S", make(), flags=re.MULTILINE)
    assert set(listed) == TARGETS
    assert len(listed) == len(TARGETS)


def test_make_forget_runs_the_entry_point_in_this_environment() -> None:
    commands = make("--dry-run", "forget", "ARGS=-P digit=7")
    run = '".venv/bin/python" -m mlflow run . -e forget --env-manager local --experiment-name sa-mlops -P digit=7\n'
    assert run in commands


def test_ui_listens_on_this_machine_only() -> None:
    assert re.search(r"mlflow server --host 127\.0\.0\.1 .*sqlite:///mlflow\.db", make("--dry-run", "ui"))
