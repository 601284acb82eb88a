"""Whether the process behind a run still lives."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from sa_mlops.registry import processes


def test_this_process_is_alive() -> None:
    assert processes.fate(processes.identity()) == "alive"


def test_a_run_names_its_process_in_one_tag() -> None:
    assert processes.of_run(processes.tag()) == processes.identity()
    assert processes.of_run(processes.identity() | {"sa.stage": "forget"}) == processes.identity()
    for odd in ("", "[1]", "{", '{"sa.pid": 1}'):
        assert processes.fate(processes.of_run({processes.PROCESS: odd})) == "unknown"


def identity_of_a_dead_process() -> dict[str, str]:
    code = "import json; from sa_mlops.registry import processes; print(json.dumps(processes.identity()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def test_a_process_that_ended_is_gone() -> None:
    assert processes.fate(identity_of_a_dead_process()) == "gone"


def test_a_number_that_another_process_has_now_is_gone() -> None:
    tags = identity_of_a_dead_process()
    assert processes.fate(tags | {processes.PID: processes.identity()[processes.PID]}) == "gone"


def test_another_host_cannot_be_judged_from_here() -> None:
    assert processes.fate(processes.identity() | {processes.HOST: "elsewhere.example"}) == "elsewhere"


def test_the_same_name_on_another_machine_is_elsewhere() -> None:
    tags = processes.identity()
    _, rest = tags[processes.STARTED].split(":", 1)
    assert processes.fate(tags | {processes.STARTED: f"another:{rest}"}) == "elsewhere"


def test_process_numbers_of_another_container_mean_nothing_here() -> None:
    tags = processes.identity()
    machine, boot, _, begin = tags[processes.STARTED].split(":")
    assert processes.fate(tags | {processes.STARTED: f"{machine}:{boot}:1:{begin}"}) == "elsewhere"


def test_a_machine_that_was_started_anew_has_lost_its_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_place", lambda: ("machine", "first", "1"))
    tags = processes.identity()
    monkeypatch.setattr(processes, "_place", lambda: ("machine", "second", "1"))
    assert processes.fate(tags) == "gone"


def test_a_new_boot_of_a_machine_without_an_identity_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_place", lambda: ("", "first", "1"))
    tags = processes.identity()
    monkeypatch.setattr(processes, "_place", lambda: ("", "second", "1"))
    assert processes.fate(tags) == "elsewhere"


@pytest.mark.parametrize("pid", ["", "-1", "1e3", "٣", "9" * 40, "x"])
def test_tags_edited_by_hand_are_unknown(pid: str) -> None:
    assert processes.fate(processes.identity() | {processes.PID: pid}) == "unknown"


@pytest.mark.parametrize("started", ["", "a", "a:b:c", "a:b:c:d:e"])
def test_a_start_that_says_nothing_is_unknown(started: str) -> None:
    assert processes.fate(processes.identity() | {processes.STARTED: started}) == "unknown"


def test_a_run_of_older_code_is_unknown() -> None:
    assert processes.fate({}) == "unknown"
