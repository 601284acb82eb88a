"""To look at a store changes nothing, and a store that cannot be read is explained in a sentence."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest
from scenes import Scene
from screen import SMALL, WIDE, application, opened, press, registry, select, text, toasts
from textual.widgets import Input
from waiting import until

from sa_mlops.registry import names
from sa_mlops.registry.stores import StoreError
from tui.screens.audit import AuditScreen
from tui.screens.compare import CompareScreen
from tui.screens.text import TextScreen
from tui.services.sampler import Images, Latents
from tui.services.store import Store
from tui.widgets.rows import RowList


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def foreign(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE recipes (name TEXT)")
        db.execute("INSERT INTO recipes VALUES ('bread')")


@pytest.mark.parametrize("read_only", [True, False])
async def test_a_foreign_database_is_named_and_left_alone(tmp_path: Path, read_only: bool) -> None:
    path = tmp_path / "recipes.db"
    foreign(path)
    app = application(f"sqlite:///{path}", tmp_path, read_only=read_only)
    before = contents(tmp_path)
    async with opened(app) as pilot:
        await until(lambda: "is not an MLflow store" in text(app), "nothing is said about it")
        for key in ("2", "3", "1", "t", "t", "t", "r"):
            await press(pilot, key)
        assert "recipes.db" in text(app)
    after = contents(tmp_path)
    assert after["recipes.db"] == before["recipes.db"]
    assert {key for key in after if not key.startswith("state/")} == {"recipes.db"}


async def test_read_only_changes_no_file_of_a_store(scene: Scene, tmp_path: Path) -> None:
    app = application(scene.uri, tmp_path, read_only=True)
    before = contents(tmp_path)
    async with opened(app) as pilot:
        await select(pilot, 2)
        for _ in range(6):
            await press(pilot, "t")
        await press(pilot, "2", "t", "t", "3", "1", "r")
        await until(lambda: all(w.is_finished for w in app.workers), "workers continue")
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("sqlite:///{}/none.db", "none.db does not exist"),
        ("sqlite:///{}/nowhere/none.db", "nowhere does not exist"),
        ("http://127.0.0.1:9", "http://127.0.0.1:9: it cannot be reached"),
        ("{}/mlruns", "is neither sqlite:///FILE nor the address of a server"),
    ],
    ids=("file", "folder", "server", "path"),
)
async def test_each_unreadable_store_has_a_sentence_of_its_own(
    tmp_path: Path, uri: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    app = application(uri.format(tmp_path), tmp_path, read_only=True)
    before = contents(tmp_path)
    async with opened(app):
        await until(lambda: said in text(app), f"it says: {text(app)}")
    assert contents(tmp_path) == before


def test_a_database_that_is_locked_is_no_foreign_one(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    path.write_bytes(b"no database at all " * 500)
    with pytest.raises(StoreError, match="is not a sqlite database"):
        list(Store(f"sqlite:///{path}").read(None))


async def test_a_late_drawing_is_not_shown_under_another_title(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = application(scene.uri, tmp_path, tab="samples")
    asked, free = threading.Event(), threading.Event()
    answer = Images(
        rows=4, columns=10, height=28, width=28, channels=1, z_dim=8, pixels=bytes(4 * 10 * 28 * 28)
    )

    def slow(_folder: Path, _latents: Latents) -> Images:
        asked.set()
        free.wait(60)
        return answer

    monkeypatch.setattr(app.workspace.sampler, "images", slow)
    async with opened(app) as pilot:
        await until(asked.is_set, "no drawing was requested")
        assert registry(app).lineage.go_to(names.version_uri(names.FISHERS, 1))
        await until(
            lambda: "no samples: this is no generator" in text(app), "the Fisher diagonal is not shown"
        )
        free.set()
        await until(lambda: all(w.is_finished for w in app.workers), "workers continue")
        await pilot.pause()
        assert "no samples: this is no generator" in text(app)
        assert "▀" not in text(app)


@pytest.mark.parametrize("tab", ["samples", "metrics", "about", "images"])
async def test_keys_reach_the_detail_on_a_small_terminal(scene: Scene, tmp_path: Path, tab: str) -> None:
    app = application(scene.uri, tmp_path, tab=tab)
    async with opened(app, SMALL) as pilot:
        await select(pilot, 2)
        assert "vs base" not in text(app)
        await press(pilot, "enter")
        await pilot.pause()
        assert app.focused is not None
        assert app.focused.is_on_screen
        assert "forget (1)" not in text(app)
        if tab == "metrics":
            await until(lambda: "vs base" in text(app), "the detail did not open")
            await press(pilot, "end")
            await until(lambda: app.focused and app.focused.scroll_offset.y > 0, "End does not scroll")
        await press(pilot, "escape")
        assert app.focused is registry(app).lineage


async def test_keys_scroll_the_comparison(scene: Scene, tmp_path: Path) -> None:
    app = application(scene.uri, tmp_path)
    async with opened(app, SMALL) as pilot:
        for number in (2, 3):
            await select(pilot, number)
            await press(pilot, "space")
        await press(pilot, "c")
        assert isinstance(app.screen, CompareScreen)
        await press(pilot, "pagedown")
        await until(lambda: app.focused and app.focused.scroll_offset.y > 0, "Page down does not scroll")
        await press(pilot, "t", "t")
        assert app.focused is not None
        assert app.focused.is_on_screen


async def test_help_and_quit_are_in_the_footer_of_a_small_terminal(scene: Scene, tmp_path: Path) -> None:
    app = application(scene.uri, tmp_path)
    async with opened(app, SMALL) as pilot:
        for key in ("1", "2", "3"):
            await press(pilot, key)
            await pilot.pause()
            footer = text(app).split("\n")[-1].rstrip()
            assert footer.startswith("? help q quit ")
            # The last key that has room is shown whole.
            shown = [b.binding for b in app.screen.active_bindings.values() if b.binding.show]
            assert footer.endswith(tuple(f" {binding.description}" for binding in shown))


async def test_an_audit_lists_the_versions_that_hold_a_class(scene: Scene, tmp_path: Path) -> None:
    app = application(scene.uri, tmp_path, read_only=True)
    before = contents(tmp_path)
    async with opened(app, SMALL) as pilot:
        await select(pilot, 3)
        await press(pilot, "a")
        assert app.screen.query_one(Input).value == "8"  # v2 had forgotten the 1 already
        await press(pilot, *"x,77", "enter")
        await until(lambda: "'x' is not allowed" in " ".join(text(app).split()), "nothing is said about x")
        await press(pilot, *["backspace"] * 4, "1", "enter")
        await until(lambda: isinstance(app.screen, AuditScreen), "the audit is not shown")
        await pilot.pause()
        states = {row["version"]: row["classes"]["1"] for row in app.screen.query_one(RowList).rows}
        assert states == {1: "knows it", 2: "suppressed", 3: "fails the gates", 5: "knows it"}
        assert "besides: 1 Fisher diagonal, 0 judges" in text(app)
        await press(pilot, "y", "down", "enter")
        await until(lambda: registry(app).version and registry(app).version.number == 2, "v2 is not shown")
        assert "sa-mlops erase --classes 1" in toasts(app)
    assert contents(tmp_path) == before


async def test_the_plan_of_an_erasure_is_shown_with_the_command_that_carries_it_out(
    scene: Scene, tmp_path: Path
) -> None:
    app = application(scene.uri, tmp_path)
    async with opened(app, WIDE) as pilot:
        await press(pilot, "a", *["backspace"] * 4, "1", "enter")
        await until(lambda: isinstance(app.screen, AuditScreen), "the audit is not shown")
        await press(pilot, "p")
        await until(lambda: isinstance(app.screen, TextScreen), "the plan is not shown")
        assert "Carry it out with --approve REASON" in text(app)
        assert "sa-mlops erase --classes 1 --approve REASON" in " ".join(text(app).split())


async def test_an_audit_of_an_empty_store_says_so(tmp_path: Path) -> None:
    app = application(f"sqlite:///{tmp_path}/none.db", tmp_path)
    async with opened(app) as pilot:
        await press(pilot, "a", "1", "enter")
        await until(lambda: "no version is registered yet" in text(app), "nothing is said")
    assert not (tmp_path / "none.db").exists()
