"""`erase`: what is planned, what is done, and that each step is done once."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.tracking import MlflowClient
from stores import Store, child_environment

from sa_mlops import cli
from sa_mlops.registry import log, names, versions, weights

pytestmark = pytest.mark.integration
WIDE = {
    "retain_accuracy_drop": 0.5,
    "retain_class_drop": 0.5,
    "retain_fid_rise": 10.0,
    "retain_recall_share": 0.5,
}
"""Limits that the small shared lineage keeps."""
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def client(whole_store: Store, tmp_path: Path) -> MlflowClient:
    """The shared lineage, whose base is the champion: 2 has forgotten the class 1."""
    (tmp_path / "wide.json").write_text(json.dumps(WIDE))
    (tmp_path / "short.json").write_text(json.dumps({"steps": 120, "fisher_samples": 2000}))
    client = MlflowClient()
    log.record_alias(client, names.GENERATORS, names.CHAMPION_ALIAS, 1, None)
    return client


def erase(*more: str, classes: str = "1") -> int:
    return cli.main(["erase", "--classes", classes, "--gates", "wide.json", *more])


def aliases(client: MlflowClient) -> dict[str, int]:
    return log.alias_map(client, names.GENERATORS)


def problems(client: MlflowClient) -> list[str]:
    return list(log.problems(log.records(client, names.GENERATORS), log.alias_map(client, names.GENERATORS)))


def kinds(client: MlflowClient) -> list[str]:
    return [e.kind for e in log.read(client, names.GENERATORS)]


def check_done(client: MlflowClient) -> None:
    """The class 1 is erased: once, by the log and by every loader."""
    assert aliases(client) == {names.CHAMPION_ALIAS: 2}
    assert problems(client) == []
    withdrawn = [e.content["uri"] for e in log.read(client, names.GENERATORS) if e.kind == "withdrawal"]
    assert sorted(withdrawn) == ["models:/sa-cvae/1", "models:/sa-fim/1"]
    assert [k for k in kinds(client) if k in ("approval", "erasure")] == ["approval", "erasure"]
    assert names.WITHDRAWN in versions.get(client, names.GENERATORS, 1).tags
    with pytest.raises(Exception, match="withdrawn"):
        mlflow.pyfunc.load_model("models:/sa-cvae/1")
    mlflow.pyfunc.load_model("models:/sa-cvae/2")


def test_the_plan_names_every_step_and_changes_nothing(client: MlflowClient, capsys: Captured) -> None:
    before = kinds(client), aliases(client)
    assert erase("--plan") == 0
    assert (kinds(client), aliases(client)) == before
    assert "Carry it out with --approve REASON" in capsys.readouterr().out
    assert erase() == 0
    assert (kinds(client), aliases(client)) == before
    assert capsys.readouterr().out.splitlines()[:5] == [
        "use      models:/sa-cvae/2 (v2 forget 1) in place of models:/sa-cvae/1",
        "remove   @base from models:/sa-cvae/1",
        "move     @champion from models:/sa-cvae/1 to models:/sa-cvae/2",
        "withdraw models:/sa-cvae/1 (v1 base): knows it (1)",
        "withdraw models:/sa-fim/1 (v1 Fisher of v1): made with samples of the class, or of a version that holds it",
    ]
    assert erase("--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["erased"], document["approval"]) == (False, None)


def test_approved_it_is_carried_out_once(client: MlflowClient, capsys: Captured) -> None:
    assert erase("--approve", "request 7") == 0
    check_done(client)
    approval = next(e for e in log.read(client, names.GENERATORS) if e.kind == "approval")
    assert approval.content["reason"] == "request 7"
    capsys.readouterr()
    for command in (
        ["sample", "1"],
        ["promote", "1"],
        ["forget", "--dataset", "digits", "--from-version", "1"],
    ):
        assert cli.main(command) == 1
        assert "withdrawn" in capsys.readouterr().err
    assert erase("--approve", "again") == 0
    assert "Nothing is left" in capsys.readouterr().out
    check_done(client)
    assert cli.main(["audit", "--classes", "1"]) == 0
    assert "v1 base (withdrawn)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("call", "nth"),
    [
        ("delete_registered_model_alias", 1),
        ("set_registered_model_alias", 1),
        ("log_model_artifact", 1),
        ("log_model_artifact", 2),
        ("set_model_version_tag", 1),
        ("set_model_version_tag", 2),
    ],
)
def test_an_interrupted_erasure_continues_without_asking(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch, capsys: Captured, call: str, nth: int
) -> None:
    calls = 0
    usual = getattr(MlflowClient, call)

    def interrupted(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == nth:
            raise KeyboardInterrupt
        return usual(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, call, interrupted)
        assert erase("--approve", "request 7") == 130
    assert "without --approve, resumes it" in capsys.readouterr().err
    assert erase("--plan") == 0
    assert "Approved because: request 7" in capsys.readouterr().out
    assert "erasure" not in kinds(client)
    assert erase() == 0
    assert "approved because: request 7" in capsys.readouterr().err
    check_done(client)


def test_a_link_and_lost_files_do_not_stop_it(client: MlflowClient, tmp_path: Path) -> None:
    """A link in place of the configuration is replaced, not followed."""
    other = tmp_path / "other.json"
    other.write_text("{}")
    config = versions.files(versions.get(client, names.GENERATORS, 1)) / "artifacts" / weights.CONFIG
    config.unlink()
    config.symlink_to(other)
    shutil.rmtree(versions.files(versions.get(client, names.FISHERS, 1)))
    assert erase("--approve", "request 7") == 0
    assert other.read_text() == "{}"
    check_done(client)


def test_a_successor_is_made_and_replaces_nothing_if_it_fails_a_gate(
    client: MlflowClient, tmp_path: Path, capsys: Captured
) -> None:
    (tmp_path / "wide.json").write_text(json.dumps(WIDE | {"forget_prob": 0.0}))
    short = ("--settings", "short.json")
    assert erase("--approve", "request 8", *short, classes="3") == 1
    assert "cannot take the place of models:/sa-cvae/1: it fails forget_prob" in capsys.readouterr().err
    assert aliases(client)[names.CHAMPION_ALIAS] == 1
    assert "withdrawal" not in kinds(client)
    (tmp_path / "wide.json").write_text(json.dumps(WIDE))
    assert erase("--json", *short, classes="3") == 0
    assert json.loads(capsys.readouterr().out)["erased"] is False, "an approval is for its limits"
    assert erase("--json", "--approve", "request 8", *short, classes="3") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["approval"]["limits"] == WIDE
    made = document["made"]["models:/sa-cvae/1"]
    assert aliases(client) == {names.CHAMPION_ALIAS: int(made.rpartition("/")[2])}
    gone = {entry["uri"] for entry in document["withdraw"]}
    assert {"models:/sa-cvae/1", "models:/sa-cvae/2", "models:/sa-cvae/3"} <= gone
    assert made not in gone


def test_delete_removes_the_versions(client: MlflowClient, capsys: Captured) -> None:
    assert erase("--delete", "--approve", "request 9") == 0
    assert "mlflow gc" in capsys.readouterr().out
    with pytest.raises(versions.VersionError):
        versions.get(client, names.GENERATORS, 1)
    assert aliases(client) == {names.CHAMPION_ALIAS: 2}
    assert kinds(client).count("deletion") == 2
    assert problems(client) == []


def test_an_approval_needs_a_reason_and_a_class_must_be_known(client: MlflowClient) -> None:
    assert erase("--approve", "  ") == 1
    assert erase(classes="nine") == 2
    assert erase("--approve", "request", "--settings", "absent.json", classes="3") == 2
    assert "approval" not in kinds(client)


TERMINAL = """
import os, pty, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))
"""
"""Runs a command in a terminal, where Ctrl-C is heard, also if the tests were started in the background of a shell."""
REASON, SURE, CTRL_C = b"reason of the approval", b"for good?", b"\x03"


@pytest.mark.parametrize(
    ("words", "dialogue", "status"),
    [
        ([], [(REASON, CTRL_C)], 130),
        (["--delete"], [(REASON, b"request 7\n"), (SURE, b"n\n")], 130),
        ([], [(REASON, b"\n"), (REASON, b"request 7\n")], 0),
    ],
)
def test_at_a_terminal_the_plan_is_shown_and_the_approval_asked_for(
    client: MlflowClient, words: list[str], dialogue: list[tuple[bytes, bytes]], status: int
) -> None:
    before = kinds(client), aliases(client)
    command = [sys.executable, "-m", "sa_mlops", "erase", "--classes", "1", "--gates", "wide.json", *words]
    with subprocess.Popen(
        [sys.executable, "-c", TERMINAL, *command],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=child_environment(),
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        said, shown = b"", []
        for question, answer in dialogue:
            while question not in said:
                more = os.read(process.stdout.fileno(), 4096)
                assert more, said.decode()
                said += more
            shown.append(said)
            said = said.partition(question)[2]
            process.stdin.write(answer)
            process.stdin.flush()
        while process.poll() is None:
            # A Ctrl-C between the question and the reading of the answer is lost; a person presses it again.
            if select.select([process.stdout], [], [], 2)[0]:
                os.read(process.stdout.fileno(), 4096)
            elif dialogue[-1][1] == CTRL_C:
                process.stdin.write(CTRL_C)
                process.stdin.flush()
        assert process.returncode == status
    assert b"remove   @base from models:/sa-cvae/1" in shown[0]
    if status:
        assert (kinds(client), aliases(client)) == before
    else:
        check_done(client)
