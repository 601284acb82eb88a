"""The environment that make installs: by one make at a time, for the folder that it lies in; and MLflow's variables."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from stores import ROOT

from sa_mlops import environment
from sa_mlops.errors import CommandError

FILES = ("Makefile", "requirements.txt", "requirements-dev.txt", "pyproject.toml")
PYTHON = """#!/bin/bash
# Stands in for Python: makes an environment whose Python notes what it is told.
if [[ $1 == -m && $2 == venv ]]; then
    mkdir -p "${@: -1}/bin"
    printf '#!/bin/bash\\nif [[ $3 == install ]]; then echo begin >>log; sleep 0.5; echo end >>log; fi\\n' \\
        >"${@: -1}/bin/python"
    chmod +x "${@: -1}/bin/python"
    echo venv >>log
fi
"""
TRAP = "#!/bin/sh\necho 'the pip of the system' >>log\n"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What make needs of a checkout, in a folder with a space, and a pip on PATH that must not be called."""
    root = tmp_path / "my clone"
    (root / "scripts").mkdir(parents=True)
    for name in FILES:
        shutil.copy(ROOT / name, root)
    for name in ("environment.sh", "relocate.py"):
        shutil.copy(ROOT / "scripts" / name, root / "scripts")
    for name, text in (("python", PYTHON), ("bin/pip", TRAP)):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    return root


def make(root: Path, *words: str) -> subprocess.Popen[str]:
    theirs = {"ARGS", "MAKEFLAGS", "MAKELEVEL", "MFLAGS"}
    variables = {name: value for name, value in os.environ.items() if name not in theirs}
    variables["PATH"] = f"{root.parent / 'bin'}:{variables['PATH']}"
    return subprocess.Popen(
        ["make", "-C", str(root), f"PYTHON={root.parent / 'python'}", *words],
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


class TestInstallation:
    def test_of_two_at_once_one_waits_and_installs_nothing(self, clone: Path) -> None:
        both = [make(clone, "runtime") for _ in range(2)]
        said = "".join(process.communicate(timeout=60)[0] for process in both)
        assert [process.returncode for process in both] == [0, 0], said
        assert said.count("Waiting for another make") == 1
        assert (clone / "log").read_text().split() == ["venv", "begin", "end", "begin", "end"]

    def test_a_complete_environment_is_left_alone(self, clone: Path) -> None:
        assert make(clone, "runtime").wait(timeout=60) == 0
        (clone / "log").unlink()
        assert make(clone, "runtime").wait(timeout=60) == 0
        assert not (clone / "log").exists()

    def test_a_percent_sign_is_refused_before_anything_is_installed(self, clone: Path) -> None:
        odd = clone.rename(clone.parent / "100% mine")
        process = make(odd, "runtime")
        said = process.communicate(timeout=60)[0]
        assert process.returncode != 0
        assert "because of the percent sign; give make VENV=" in said
        assert not (odd / ".venv").exists()

    @pytest.mark.parametrize("name", ["other", "with a space"])
    def test_a_moved_environment_is_corrected(self, clone: Path, name: str) -> None:
        venv = clone / ".venv"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
        tool = venv / "bin" / "tool"
        tool.write_text(f"#!{venv}/bin/python\nimport sys\nprint(sys.prefix)\n")
        tool.chmod(0o755)
        (venv / ".installed").write_text(f"{venv}\n")
        moved = clone.rename(clone.parent / name)
        process = make(moved, "runtime")
        assert process.wait(timeout=60) == 0, process.communicate()[0]
        tool = moved / ".venv" / "bin" / "tool"
        assert subprocess.check_output([tool], text=True).strip() == str(moved / ".venv")
        assert str(moved) in (moved / ".venv" / "bin" / "activate").read_text()
        assert make(moved, "runtime").communicate(timeout=60)[0].count("Correcting") == 0


class TestVariables:
    @pytest.fixture(autouse=True)
    def restored(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "environ", os.environ.copy())

    def test_an_empty_one_is_unset(self) -> None:
        os.environ |= {"MLFLOW_RUN_ID": "", "MLFLOW_EXPERIMENT_NAME": " ", "MLFLOW_TRACKING_URI": ""}
        environment.prepare()
        assert not {"MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME"} & os.environ.keys()
        assert os.environ["MLFLOW_TRACKING_URI"] == f"sqlite:///{Path.cwd()}/mlflow.db"

    @pytest.mark.parametrize("name", ["a b", "josé", "100%", "%20", "#1", "o'b", '"q"', "a;b&c$d"])
    def test_a_store_is_found_in_a_folder_of_any_name(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        path = tmp_path / name / "mlflow.db"
        for uri in ("sqlite:///mlflow.db", f"sqlite:///{path}"):
            assert environment.database(environment.absolute(uri)) == path

    def test_an_address_that_mlflow_has_percent_encoded_is_decoded(self, tmp_path: Path) -> None:
        (tmp_path / "a b").mkdir()
        assert (
            environment.absolute(f"sqlite:///{tmp_path}/a%20b/mlflow.db")
            == f"sqlite:///{tmp_path}/a b/mlflow.db"
        )

    @pytest.mark.parametrize(("policy", "spins"), [("", "10000"), ("ACTIVE", None)])
    def test_waiting_threads_sleep_unless_the_user_has_a_policy(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str, spins: str | None
    ) -> None:
        monkeypatch.chdir(tmp_path)
        # Set first, so that undoing also removes what is set meanwhile.
        monkeypatch.setenv("GOMP_SPINCOUNT", "")
        monkeypatch.delenv("GOMP_SPINCOUNT")
        monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
        if policy:
            monkeypatch.setenv("OMP_WAIT_POLICY", policy)
        environment.prepare()
        assert os.environ.get("GOMP_SPINCOUNT") == spins

    @pytest.mark.parametrize("uri", ["http://127.0.0.1:5000", "postgresql://u@h/d", "file:///tmp/x"])
    def test_other_addresses_are_left_alone(self, uri: str) -> None:
        assert environment.absolute(uri) == uri
        assert environment.database(uri) is None

    @pytest.mark.parametrize("name", ["a?b", 'o\'b "q"'])
    def test_a_folder_in_which_mlflow_keeps_no_store_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        monkeypatch.delenv("MLFLOW_TRACKING_URI")
        with pytest.raises(CommandError, match="rename it"):
            environment.prepare()
