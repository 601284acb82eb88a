"""Launches are real processes here; none of them is waited for by time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from waiting import wait_for

from sa_mlops.config import ENTRY_POINTS
from sa_mlops.registry import processes
from tui.services import launcher
from tui.services.launcher import Launch, Launcher, Tracked, as_shown, command_for, spell

STAND_IN = """
import signal, sys
signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
print("at work", flush=True)
while True:
    signal.pause()
"""
"""What stands in for the stage's own process: like it, it ends by itself when it is interrupted."""


def begin(starter: Launcher, word: str, device: str = "cpu") -> Launch:
    launch = starter.submit(("child", word), "forget", device)
    starter.tick()
    return launch


def seen(starter: Launcher, launch: Launch) -> Tracked:
    return next(s for s in starter.launches() if s.launch.key == launch.key)


def state(starter: Launcher, launch: Launch) -> str:
    return seen(starter, launch).state


def in_state(starter: Launcher, launch: Launch, wanted: str) -> None:
    wait_for(lambda: state(starter, launch) == wanted, f"not {wanted}: {starter.tail(launch.key)}")


def begun(starter: Launcher, launch: Launch) -> psutil.Process:
    wait_for(lambda: seen(starter, launch).run_id, "the log names no run")
    return psutil.Process(seen(starter, launch).launch.pid)


def test_records_are_in_the_order_in_which_they_were_made(starter: Launcher) -> None:
    made = [starter.submit(("child", "bars"), "forget", "cpu").key for _ in range(50)]
    assert [one.launch.key for one in starter.launches()] == made


def test_a_run_that_ends_well_is_done(starter: Launcher) -> None:
    launch = begin(starter, "bars")
    in_state(starter, launch, "done")
    assert seen(starter, launch).status == 0


def test_what_runs_on_slurm_takes_no_device(starter: Launcher) -> None:
    first, second = (begin(starter, "stay", "slurm") for _ in range(2))
    here = begin(starter, "stay", "cpu")
    assert [state(starter, one) for one in (first, second, here)] == ["running"] * 3


def test_a_run_that_ends_badly_has_failed_with_its_status(starter: Launcher) -> None:
    launch = begin(starter, "fail")
    in_state(starter, launch, "failed")
    assert seen(starter, launch).status == 3
    assert "trouble" in starter.tail(launch.key)


def test_the_tail_shows_bars_as_a_terminal_would_leave_them(starter: Launcher) -> None:
    launch = begin(starter, "bars")
    in_state(starter, launch, "done")
    assert starter.tail(launch.key).split("\n")[1:] == ["start", "100% |###| 100", "end", ""]


def test_the_tail_is_as_long_as_asked(starter: Launcher) -> None:
    starter.folder.mkdir()
    starter.log("x").write_text("\n".join(str(i) for i in range(100_000)))
    assert starter.tail("x", 2) == "99998\n99999"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\rb", "b"),
        ("a\r", "a"),
        ("a\r\nb", "a\nb"),
        ("\x1b[2Ka\x1b]0;title\x07b", "ab"),
        ("", ""),
    ],
)
def test_output_as_it_would_be_shown(text: str, shown: str) -> None:
    assert as_shown(text) == shown


def test_the_run_is_known_from_the_log(starter: Launcher) -> None:
    launch = begin(starter, "stay")
    begun(starter, launch)
    assert seen(starter, launch).run_id == "0a" * 16


def test_a_run_is_found_again_by_another_ui(starter: Launcher) -> None:
    launch = begin(starter, "stay")
    begun(starter, launch)
    other = Launcher(starter.folder, starter.project, starter.uri)
    assert state(other, launch) == "running"


def test_a_run_has_a_session_of_its_own(starter: Launcher) -> None:
    process = begun(starter, begin(starter, "stay"))
    sessions = [Path(f"/proc/{p.pid}/stat").read_text().rpartition(")")[2].split()[3]
                for p in (process, *process.children(recursive=True))]  # fmt: skip
    assert set(sessions) == {str(process.pid)}


def test_a_run_survives_the_process_that_started_it(starter: Launcher, tmp_path: Path) -> None:
    program = f"""
import sys
sys.path.insert(0, {str(Path(launcher.__file__).parents[2])!r})
from pathlib import Path
from tui.services.launcher import Launcher
made = Launcher(Path({str(starter.folder)!r}), Path({str(tmp_path)!r}), "sqlite:///x.db")
made.submit(("child", "stay"), "forget", "cpu")
made.tick()
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    (found,) = starter.launches()
    begun(starter, found.launch)
    assert state(starter, found.launch) == "running"


def test_a_cancelled_run_ends_as_cancelled(starter: Launcher, tmp_path: Path) -> None:
    (tmp_path / "sa_mlops").mkdir()
    (tmp_path / "sa_mlops" / "__init__.py").touch()
    (tmp_path / "sa_mlops" / "__main__.py").write_text(STAND_IN)
    launch = begin(starter, "outer")
    wait_for(lambda: "at work" in starter.tail(launch.key), "the stage did not begin")
    starter.cancel(launch.key)
    in_state(starter, launch, "cancelled")
    # The stage was asked alone: what is around it saw it end with the status of an interrupted stage.
    assert seen(starter, launch).status == 130


def test_a_run_that_does_not_listen_is_killed(starter: Launcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "REAP_SECONDS", 0.05)
    launch = begin(starter, "stubborn")
    process = begun(starter, launch)
    starter.cancel(launch.key)
    wait_for(lambda: [s.launch.key for s in starter.press()] == [launch.key], "it was not killed")
    in_state(starter, launch, "cancelled")
    wait_for(lambda: launcher.reap() or not process.is_running(), "its process is still there")


def test_cancelling_leaves_other_runs_alone(starter: Launcher) -> None:
    first, second = begin(starter, "stay", "cuda:0"), begin(starter, "stay", "cuda:1")
    begun(starter, first), begun(starter, second)
    starter.cancel(first.key)
    wait_for(lambda: starter.press() or state(starter, first) == "cancelled", "it was not cancelled")
    assert state(starter, second) == "running"


def test_one_run_a_device(starter: Launcher) -> None:
    first, second = begin(starter, "stay"), begin(starter, "bars")
    begun(starter, first)
    assert [state(starter, one) for one in (first, second)] == ["running", "queued"]
    assert starter.tick() == []


def test_the_queue_goes_on_when_the_device_is_free(starter: Launcher) -> None:
    first, second = begin(starter, "bars"), starter.submit(("child", "bars"), "forget", "cpu")
    in_state(starter, first, "done")
    assert [one.key for one in starter.tick()] == [second.key]
    in_state(starter, second, "done")


def test_the_queue_outlives_the_ui(starter: Launcher) -> None:
    begun(starter, begin(starter, "stay"))
    waiting = starter.submit(("child", "bars"), "base", "cpu")
    other = Launcher(starter.folder, starter.project, starter.uri)
    assert state(other, waiting) == "queued"
    assert seen(other, waiting).launch == waiting


def test_a_waiting_run_can_be_moved_up(starter: Launcher) -> None:
    one, two, three = (starter.submit(("child", "bars"), "forget", "cpu") for _ in range(3))
    starter.move(three.key, -1)
    order = sorted((s.launch for s in starter.launches()), key=lambda launch: launch.order)
    assert [launch.key for launch in order] == [one.key, three.key, two.key]


@pytest.mark.parametrize("places", [-1, 3])
def test_moving_past_an_end_changes_nothing(starter: Launcher, places: int) -> None:
    launch = starter.submit(("child", "bars"), "forget", "cpu")
    starter.move(launch.key, places)
    assert seen(starter, launch).launch == launch


def test_a_waiting_run_that_is_cancelled_never_starts(starter: Launcher) -> None:
    launch = starter.submit(("child", "bars"), "forget", "cpu")
    starter.cancel(launch.key)
    assert starter.tick() == []
    assert state(starter, launch) == "cancelled"


def test_auto_takes_the_first_gpu_that_is_free(starter: Launcher) -> None:
    starter.gpus = ("cuda:0", "cuda:1")
    assert starter.slot("auto", {"cuda:0"}) == "cuda:1"
    assert starter.slot("auto", set()) == "cuda:0"
    assert starter.slot("cuda", set()) == "cuda:0"


def test_auto_without_gpus_is_the_cpu(starter: Launcher) -> None:
    assert starter.slot("auto", set()) == "cpu"


def test_a_later_process_with_the_same_id_does_not_count(starter: Launcher) -> None:
    launch = begin(starter, "stay")
    begun(starter, launch)
    path = starter.folder / f"{launch.key}.json"
    record = json.loads(path.read_text())
    later = record["process"] | {processes.STARTED: record["process"][processes.STARTED] + "1"}
    path.write_text(json.dumps(record | {"process": later}))
    try:
        assert state(starter, launch) == "lost"
    finally:
        path.write_text(json.dumps(record))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"key": 1}', '{"command": "x", "key": "bad"}'])
def test_files_that_are_no_records_are_left_out(starter: Launcher, text: str) -> None:
    starter.folder.mkdir()
    (starter.folder / "bad.json").write_text(text)
    assert starter.launches() == []
    assert starter.tick() == []


def test_a_command_names_only_what_differs_from_the_defaults() -> None:
    parameters = ENTRY_POINTS["forget"].config.parameters()
    defaults = {name: p.spell(p.default) for name, p in parameters.items()}
    command = command_for("forget", defaults | {"classes": "3", "surrogate": "a b"}, defaults)
    assert spell(command) == (
        "mlflow run . -e forget --env-manager local --experiment-name sa-mlops -P classes=3 -P 'surrogate=a b'"
    )


def test_signals_go_to_no_process_that_is_gone(starter: Launcher) -> None:
    launch = begin(starter, "bars")
    in_state(starter, launch, "done")
    starter.cancel(launch.key)
    assert starter.press() == []
    assert state(starter, launch) == "done"
