"""How the UI starts: what it imports and what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from scenes import Scene
from screen import application, opened, select, text
from stores import child_environment

HEAVY = ("torch", "mlflow", "pandas", "numpy", "sklearn", "matplotlib", "optuna")


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


def test_help_imports_neither_textual_nor_anything_heavy() -> None:
    program = f"""
import sys
from tui.__main__ import main
try:
    main(["--help"])
except SystemExit as end:
    assert end.code == 0
print("imported:", *sorted({{"textual", *{HEAVY!r}}} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, check=True, timeout=120, env=child_environment(),
    )  # fmt: skip
    assert "--tracking-uri" in done.stdout
    assert done.stdout.splitlines()[-1] == "imported:"


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
