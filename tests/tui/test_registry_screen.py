"""The registry on the screen: lineage, detail, filter, marks, promotion."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from scenes import Scene
from screen import SIZES, WIDE, application, opened, press, registry, select, text, toasts
from textual.widgets import Input
from waiting import until

from sa_mlops.registry import claims, names
from sa_mlops.registry.version import Version
from tui.screens.compare import CompareScreen
from tui.screens.confirm import ConfirmScreen
from tui.screens.launch import LaunchScreen
from tui.screens.text import TextScreen
from tui.services.filters import UNMATCHED, Filter, of_version
from tui.services.sampler import Sampler


@pytest.mark.parametrize("size", SIZES)
async def test_the_lineage_hangs_every_version_under_what_it_was_made_from(
    scene: Scene, tmp_path: Path, size: tuple[int, int]
) -> None:
    app = application(scene.uri, tmp_path)
    async with opened(app, size):
        depths = {r.version.title: r.depth for r in registry(app).lineage.rows if r.version is not None}
        shown = text(app)
    assert depths["v1 base"] == 0
    assert depths["v2 forget 1"] == depths["v1 Fisher of v1"] == 1
    assert depths["v3 forget 1,8"] == 2
    assert "forget (1) (8)" in shown
    assert "@base" in shown


async def test_a_run_stands_where_its_version_will_be(scene: Scene, tmp_path: Path) -> None:
    app = application(scene.uri, tmp_path)
    async with opened(app):
        rows = registry(app).lineage.rows
        at = next(i for i, r in enumerate(rows) if r.run is not None and r.run.run_id == scene.runs["going"])
        shown = text(app)
    assert rows[at].depth == 2
    assert "◐ forget 3  40%" in shown
    assert "█" in shown


async def test_metrics_show_their_change_against_parent_and_base(scene: Scene, tmp_path: Path) -> None:
    app = application(scene.uri, tmp_path)
    async with opened(app) as pilot:
        await select(pilot, 3)
        line = next(line for line in text(app).split("\n") if "forget.prob" in line)
    assert "0.4000" in line
    assert "+0.3000 ▼" in line
    assert "-0.5300 ▲" in line


async def test_a_probed_version_shows_its_claim_and_its_levels(
    scene: Scene, tmp_path: Path, client: MlflowClient
) -> None:
    rates = {"": 0.02, "retrained": 0.03, "lock": 0.9, "switch": 0.95, "base": 0.94}
    for subject, rate in rates.items():
        for end, value in (("", rate), (".low", rate - 0.01), (".high", rate + 0.05)):
            client.log_metric(scene.runs["forget 1"], claims.metric("A3", subject) + end, value)
    client.set_model_version_tag(
        names.GENERATORS, "2", names.LEVEL, "suppressed against A3; [b]not[/b] removed"
    )
    app = application(scene.uri, tmp_path)
    async with opened(app, (120, 36)) as pilot:
        await select(pilot, 2)
        await until(lambda: "suppressed against A3; [b]not[/b] removed" in text(app), "no claim")
        lines = text(app).split("\n")
    [row] = [line for line in lines if "A3  " in line]
    assert all(cell in row for cell in ("94 93-99", "2 1-7", "3 2-8", "95 94-100", "90 89-95"))
    assert "retrained.level" not in "".join(lines)
    assert "fakes" in "".join(lines)


async def test_a_line_says_by_which_method_and_phases_a_version_was_made_and_that_it_was_withdrawn(
    scene: Scene, tmp_path: Path, client: MlflowClient
) -> None:
    for key, value in ((names.METHOD, "esd"), (names.SETTINGS, '{"distil": true}'), (names.WITHDRAWN, "why")):
        client.set_model_version_tag(names.GENERATORS, "3", key, value)
    app = application(scene.uri, tmp_path)
    async with opened(app):
        assert "forget (1) (8) esd distilled (withdrawn)" in text(app)


async def test_v_goes_to_a_number_or_an_alias_and_leaves_the_filter_alone(
    scene: Scene, tmp_path: Path
) -> None:
    app = application(scene.uri, tmp_path)
    async with opened(app) as pilot:
        for word, number in (("3", 3), ("@base", 1)):
            await press(pilot, "v", *word, "enter")
            assert (version := registry(app).version) is not None
            assert version.number == number
            assert not registry(app).filter


async def test_the_newest_generator_is_selected_first(scene: Scene, tmp_path: Path) -> None:
    app = application(scene.uri, tmp_path)
    async with opened(app):
        version = registry(app).version
    assert version is not None
    assert version.number == 5


async def test_u_goes_up_to_what_a_version_was_made_from(scene: Scene, tmp_path: Path) -> None:
    app = application(scene.uri, tmp_path)
    async with opened(app) as pilot:
        fisher = names.version_uri(names.FISHERS, 1)
        for start, above in (
            (names.version_uri(names.GENERATORS, 3), names.version_uri(names.GENERATORS, 2)),
            (fisher, names.version_uri(names.GENERATORS, 1)),
        ):
            assert registry(app).lineage.go_to(start)
            await press(pilot, "u")
            assert registry(app).lineage.selected_key == above


async def test_samples_are_drawn_by_a_process_that_ends_with_the_application(
    scene: Scene, tmp_path: Path
) -> None:
    app = application(scene.uri, tmp_path, tab="samples", sampler=Sampler())
    async with opened(app) as pilot:
        await select(pilot, 2)
        await until(lambda: "seed 0" in text(app) and "▀" in text(app), "no samples were drawn")
        assert "(1)" in text(app)
        await press(pilot, "s")
        await until(lambda: "seed 1" in text(app), "no samples from other latents")
        await press(pilot, "b")
        await until(lambda: "v1 base   seed 1" in text(app), "the base is not beside it")
        await press(pilot, "plus")
        await until(lambda: "+0.25" in text(app), "no slider")
        process = app.workspace.sampler._process
        assert process is not None
    assert process.returncode is not None
    assert all(pipe is not None and pipe.closed for pipe in (process.stdin, process.stdout))


async def test_a_version_without_files_says_so(scene: Scene, tmp_path: Path, client: MlflowClient) -> None:
    model = client.create_logged_model(client.get_run(scene.runs["base"]).info.experiment_id, name="gone")
    client.create_model_version(names.GENERATORS, f"models:/{model.model_id}", run_id=scene.runs["base"])
    app = application(scene.uri, tmp_path, tab="samples")
    async with opened(app):
        said = "no samples: the files of models:/sa-cvae/6 are lost"
        await until(lambda: said in text(app), "nothing is said about the files")


async def test_a_foreign_version_is_shown_as_such(scene: Scene, tmp_path: Path) -> None:
    app = application(scene.uri, tmp_path, tab="about")
    async with opened(app) as pilot:
        await select(pilot, 5)
        await until(lambda: "made by another project" in text(app), "nothing is said about it")
        assert "somebody" in text(app)


async def test_the_filter_keeps_what_fits(scene: Scene, tmp_path: Path) -> None:
    filters: dict[str, set[int]] = {
        "forget": {2, 3},
        "class:8": {3},
        "@base": {1},
        "stage:retrain": {4},
        "forget.prob<0.3": {2, 4},
        "p<0.3 r>=0.98": {4},
        "owner:somebody": {5},
        "[bold": set(),
    }
    app = application(scene.uri, tmp_path)
    async with opened(app) as pilot:
        whole = len(registry(app).lineage.rows)
        for words, numbers in filters.items():
            await press(pilot, "slash")
            registry(app).query_one("#prompt", Input).value = words
            await pilot.pause()
            rows = registry(app).lineage.rows
            found = {
                r.version.number
                for r in rows
                if r.version and not r.dim and r.version.name == names.GENERATORS
            }
            assert found == numbers, words
            assert (UNMATCHED in text(app)) == (not numbers), words
            await press(pilot, "enter", "escape")
            assert len(registry(app).lineage.rows) == whole, words


def test_a_word_is_not_found_in_the_sentence_of_a_claim() -> None:
    tags = {names.STAGE: "forget", names.LEVEL: "not removed: A3 at 0.58 (retrained 0.02)"}
    version = of_version(Version(names.GENERATORS, 2, tags), (), {})
    assert Filter("-retrain level:retrained").matches(version)


async def test_marked_versions_are_compared(scene: Scene, tmp_path: Path) -> None:
    app = application(scene.uri, tmp_path)
    async with opened(app, WIDE) as pilot:
        for number in (2, 4):
            await select(pilot, number)
            await press(pilot, "space")
        assert text(app).count("✓") == 2
        await press(pilot, "c")
        assert isinstance(app.screen, CompareScreen)
        await until(lambda: "sa.stage" in text(app), "no tags that differ")
        assert "0.9800 ◆" in text(app)
        await press(pilot, "d")
        assert "metrics that differ" in text(app)
        await press(pilot, "escape")
        await press(pilot, "escape")
        assert "✓" not in text(app)


async def test_without_marks_a_version_is_compared_with_its_parent(scene: Scene, tmp_path: Path) -> None:
    app = application(scene.uri, tmp_path)
    async with opened(app) as pilot:
        await select(pilot, 1)
        await press(pilot, "c")
        assert "mark two or more versions" in toasts(app)
        await select(pilot, 3)
        await press(pilot, "c")
        assert isinstance(app.screen, CompareScreen)
        assert [v.number for v in app.screen.versions] == [2, 3]


async def test_a_refused_promotion_names_the_gate(scene: Scene, tmp_path: Path, client: MlflowClient) -> None:
    app = application(scene.uri, tmp_path)
    async with opened(app) as pilot:
        await select(pilot, 3)
        await press(pilot, "p")
        assert isinstance(app.screen, ConfirmScreen)
        assert "FAIL  forget_prob" in text(app)
        assert "will be refused" in text(app)
        await press(pilot, "y")
        await until(lambda: isinstance(app.screen, TextScreen), "no answer")
        await until(lambda: "forget_prob" in text(app), "the gate is not named")
        assert "FAIL" in text(app)
    assert "champion" not in client.get_registered_model(names.GENERATORS).aliases


async def test_a_version_that_passes_becomes_the_champion(scene: Scene, tmp_path: Path) -> None:
    app = application(scene.uri, tmp_path)
    async with opened(app) as pilot:
        await select(pilot, 2)
        await press(pilot, "p", "y")
        await until(lambda: "@champion" in text(app), "no champion is shown")
        await until(lambda: "is the champion" in toasts(app), "nothing is said")


async def test_a_question_is_answered_with_no_by_default(scene: Scene, tmp_path: Path) -> None:
    app = application(scene.uri, tmp_path)
    async with opened(app) as pilot:
        await select(pilot, 2)
        for key in ("p", "d"):
            await press(pilot, key)
            assert isinstance(app.screen, ConfirmScreen)
            await press(pilot, "enter")
            assert registry(app)
        assert not toasts(app)
        assert not app.workspace.demo


async def test_a_version_in_use_is_not_deleted(scene: Scene, tmp_path: Path) -> None:
    app = application(scene.uri, tmp_path)
    async with opened(app) as pilot:
        await select(pilot, 1)
        await press(pilot, "D")
        assert "versions were made with it" in toasts(app)


async def test_a_version_is_deleted_after_a_question(scene: Scene, tmp_path: Path) -> None:
    app = application(scene.uri, tmp_path)
    async with opened(app) as pilot:
        await select(pilot, 3)
        await press(pilot, "D", "y")
        await until(lambda: app.workspace.snapshot.generator(3) is None, "it is still there")


async def test_read_only_changes_nothing(scene: Scene, tmp_path: Path) -> None:
    app = application(scene.uri, tmp_path, read_only=True)
    async with opened(app) as pilot:
        await select(pilot, 2)
        for key in ("l", "p", "D", "d"):
            await press(pilot, key)
            assert registry(app)
        assert toasts(app).count("read-only:") == 4
        assert "read-only" in text(app)


@pytest.mark.parametrize("size", SIZES)
async def test_an_empty_store_says_what_to_press(
    tmp_path: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = application(f"sqlite:///{tmp_path}/mlflow.db", tmp_path)
    async with opened(app, size) as pilot:
        await until(lambda: "mlflow.db does not exist." in " ".join(text(app).split()), "nothing is said")
        assert "launch" in text(app)
        await press(pilot, "l")
        assert isinstance(app.screen, LaunchScreen)
        await press(pilot, "escape", "2")
        await until(lambda: "No runs yet" in text(app), "nothing is said about runs")
        await press(pilot, "3")
        await until(lambda: "No study yet" in text(app), "nothing is said about studies")
    assert not (tmp_path / "mlflow.db").exists()


@pytest.mark.parametrize("size", SIZES)
async def test_the_screen_itself_does_not_scroll(scene: Scene, tmp_path: Path, size: tuple[int, int]) -> None:
    app = application(scene.uri, tmp_path)
    async with opened(app, size) as pilot:
        for key in ("1", "2", "3"):
            await press(pilot, key)
            assert app.screen.max_scroll_y == 0
            assert not app.screen.show_vertical_scrollbar


async def test_the_uri_is_copied(scene: Scene, tmp_path: Path) -> None:
    app = application(scene.uri, tmp_path)
    async with opened(app) as pilot:
        await select(pilot, 2)
        await press(pilot, "y")
        assert app.clipboard == "models:/sa-cvae/2"


async def test_copying_without_a_clipboard_shows_the_text(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = application(scene.uri, tmp_path)

    def refuse(_text: str) -> None:
        raise OSError("no clipboard")

    async with opened(app) as pilot:
        await select(pilot, 2)
        monkeypatch.setattr(app, "copy_to_clipboard", refuse)
        await press(pilot, "y")
        assert "models:/sa-cvae/2" in toasts(app)


async def test_samples_are_written_to_a_file(scene: Scene, tmp_path: Path) -> None:
    app = application(scene.uri, tmp_path)
    async with opened(app) as pilot:
        await select(pilot, 2)
        await press(pilot, "w")
        await until(lambda: "written to" in toasts(app) or "not written" in toasts(app), "nothing was said")
    assert (tmp_path / "samples-v2-seed0.png").read_bytes().startswith(b"\x89PNG")


async def test_help_lists_the_keys_of_the_screen(scene: Scene, tmp_path: Path) -> None:
    app = application(scene.uri, tmp_path)
    async with opened(app, WIDE) as pilot:
        await press(pilot, "question_mark")
        assert isinstance(app.screen, TextScreen)
        for word in ("promote", "filter", "compare", "palette"):
            assert word in text(app)


async def test_the_layout_is_remembered(scene: Scene, tmp_path: Path) -> None:
    app = application(scene.uri, tmp_path)
    async with opened(app) as pilot:
        await press(pilot, "o", "t", "2")
    from tui.services.layout import Layout

    kept = Layout.read(tmp_path / "state" / "tui.json")
    assert (kept.order, kept.tab, kept.screen) == ("newest", "about", "runs")
