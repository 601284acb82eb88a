"""How the UI starts: what it imports, what it says, how fast it is; and large stores."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from scenes import Scene
from screen import application, opened, select, text
from stores import child_environment

HEAVY = ("torch", "mlflow", "pandas", "numpy", "sklearn", "matplotlib", "optuna")
VERSIONS, RUNS = 10_000, 2_000
KEYS = ("down", "pagedown", "end", "home", "o", "2", "down", "end", "1")
OPEN_SECONDS, KEY_SECONDS, SHOW_SECONDS = 2.0, 0.1, 0.25
"""CPU time of the process until all is there; of the thread that draws for a key, and for one that shows a screen."""


def test_the_application_is_imported_without_anything_heavy() -> None:
    program = f"import sys, tui.app; print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, check=True, timeout=120, env=child_environment(),
    )  # fmt: skip
    assert done.stdout.split() == []


def test_a_sqlite_store_is_shown_without_mlflow(scene: Scene, tmp_path: Path) -> None:
    program = f"""
import asyncio, sys
from pathlib import Path
from tui.app import AmnesiaApp
async def main():
    app = AmnesiaApp({scene.uri!r}, state=Path({str(tmp_path / "state")!r}))
    app.workspace.layout.tab = "metrics"
    async with app.run_test():
        while not app.workspace.snapshot.complete:
            await asyncio.sleep(0.02)
asyncio.run(main())
print(*sorted(set({HEAVY!r}) & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, check=True, timeout=120, env=child_environment(),
    )  # fmt: skip
    assert done.stdout.split() == []


def cpu_seconds(*words: str) -> float:
    """CPU time that a command takes, in the best of three tries."""
    times = []
    for _ in range(3):
        before = os.times()
        subprocess.run(words, check=True, timeout=120, env=child_environment(), stdout=subprocess.DEVNULL)
        after = os.times()
        times.append(
            after.children_user + after.children_system - before.children_user - before.children_system
        )
    return min(times)


def test_help_answers_in_half_a_second() -> None:
    assert cpu_seconds(sys.executable, "-m", "tui", "--help") < 0.5


def test_the_first_paint_takes_less_than_a_second(tmp_path: Path) -> None:
    program = f"""
import asyncio
from pathlib import Path
from tui.app import AmnesiaApp
async def main():
    app = AmnesiaApp("sqlite:///{tmp_path}/none.db", state=Path({str(tmp_path)!r}))
    async with app.run_test() as pilot:
        await pilot.pause()
asyncio.run(main())
"""
    assert cpu_seconds(sys.executable, "-c", program) < 1.0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--demo", "--tracking-uri", "sqlite:///x.db"), "--demo has its own store"),
        (("--nonsense",), "--nonsense"),
        ((), "this needs a terminal"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_status_2(words: tuple[str, ...], said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tui", *words],
        capture_output=True, text=True, check=False, timeout=120, env=child_environment(),
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


async def test_without_colour_nothing_is_lost(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = application(scene.uri, tmp_path)
    async with opened(app) as pilot:
        await select(pilot, 3)
        assert "(1) (8)" in text(app)
        styles = {s.style.color for strip in app.screen._compositor.render_strips() for s in strip if s.style}
        hues = [c.triplet for c in styles if c is not None and c.triplet is not None]
        assert all(max(t) - min(t) <= 2 for t in hues)
        assert re.search(r"\+0\.3000 ▼", text(app))
