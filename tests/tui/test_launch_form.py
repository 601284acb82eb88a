"""The launch form: fields, their checks, the command, and what becomes of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from scenes import Scene
from screen import SIZES, SMALL, WIDE, application, opened, press, select, text
from textual.pilot import Pilot
from textual.widgets import Button, Input, Select, Static
from waiting import until

from sa_mlops.config import ENTRY_POINTS, StepConfig
from tui.app import AmnesiaApp
from tui.messages import OpenLaunch, OpenRun
from tui.screens.launch import LaunchScreen


async def form(pilot: Pilot[None]) -> LaunchScreen:
    """The form, open for version 2."""
    await select(pilot, 2)
    await press(pilot, "l")
    screen = pilot.app.screen
    assert isinstance(screen, LaunchScreen)
    await until(lambda: screen.values(), "no fields")
    return screen


def field(screen: LaunchScreen, name: str) -> Input:
    return next(one for one in screen.query(Input) if one.name == name)


def problem(screen: LaunchScreen) -> str:
    return str(screen.query_one("#problem", Static).content)


@pytest.mark.parametrize("size", SIZES)
async def test_the_form_starts_from_the_selected_version_and_its_command_says_only_what_differs(
    scene: Scene, tmp_path: Path, size: tuple[int, int]
) -> None:
    app = application(scene.uri, tmp_path)
    async with opened(app, size) as pilot:
        screen = await form(pilot)
        assert screen.values()["from_version"] == "2"
        assert screen.values()["dataset"] == "digits"
        assert "mlflow run . -e forget" in text(app).replace("\n", " ")
        assert "run_on" not in {one.name for one in screen.query(Select)}, "there is no SLURM"
        assert screen.order() == {}
        field(screen, "classes").value = "3"
        field(screen, "steps").value = "20"
        await press(pilot, "ctrl+y")
        assert app.clipboard == (
            f"MLFLOW_TRACKING_URI={scene.uri} mlflow run . -e forget --env-manager local --experiment-name sa-mlops "
            "-P classes=3 -P from_version=2 -P steps=20 -P dataset=digits"
        )


async def told(pilot: Pilot[None], screen: LaunchScreen, mistakes: Sequence[tuple[str, str, str]]) -> None:
    """Each mistake (field, value, what is said) is told while it is typed, cannot be started, and can be corrected."""
    field(screen, "classes").value = "3"
    for name, value, said in mistakes:
        await pilot.pause()
        assert problem(screen) == "ready"
        correct, field(screen, name).value = field(screen, name).value, value
        await pilot.pause()
        assert said in problem(screen)
        assert screen.query_one("#run", Button).disabled
        await press(pilot, "ctrl+r")
        assert pilot.app.screen is screen
        field(screen, name).value = correct


async def test_a_mistake_is_told_while_typing_and_nothing_runs(scene: Scene, tmp_path: Path) -> None:
    app = application(scene.uri, tmp_path)
    mistakes = (
        ("classes", "12", "--classes"),
        ("steps", "-3", "--steps"),
        ("lr", "fast", "--lr"),
        ("from_version", "77", "registered generator"),
        ("classes", "1", "has not forgotten"),
        ("classes", "0,1,2,3,4,5,6,7,8,9", "at most 9"),
        ("surrogate", "[bold]/nowhere", "--surrogate"),
    )
    async with opened(app, WIDE) as pilot:
        await told(pilot, await form(pilot), mistakes)
    assert app.workspace.launcher.launches() == []


async def test_every_entry_point_has_its_fields(scene: Scene, tmp_path: Path) -> None:
    app = application(scene.uri, tmp_path)
    async with opened(app, WIDE):
        app.post_message(OpenLaunch("base", {}))
        await until(lambda: isinstance(app.screen, LaunchScreen) and app.screen.query(".field"), "no form")
        screen = app.screen
        assert isinstance(screen, LaunchScreen)
        for entry, definition in ENTRY_POINTS.items():
            choice(screen, "entry").value = entry
            config = definition.config
            of_default = issubclass(config, StepConfig)
            wanted = set(config.parameters_with("selective-amnesia") if of_default else config.parameters())
            await until(
                lambda w=wanted: {one.name for one in screen.query(".field")} == set(screen.values()) == w,
                f"{entry}: not its fields",
            )


async def test_what_the_form_hands_back_is_queued(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = application(scene.uri, tmp_path)
    monkeypatch.setattr(app.workspace.launcher, "tick", list)
    async with opened(app, WIDE) as pilot:
        screen = await form(pilot)
        field(screen, "classes").value = "3"
        await press(pilot, "ctrl+r")
        await until(lambda: "○ queued" in text(app), "it is not in the list of runs")
        (seen,) = app.workspace.launcher.launches()
        assert seen.launch.entry == "forget"
        await press(pilot, "x", "y")
        await until(lambda: app.workspace.launcher.launches()[0].state == "cancelled", "it was not cancelled")


async def test_a_method_has_its_own_options_and_no_other_s(scene: Scene, tmp_path: Path) -> None:
    app = application(scene.uri, tmp_path)
    async with opened(app, WIDE) as pilot:
        screen = await form(pilot)
        field(screen, "classes").value, field(screen, "ewc_lambda").value = "3", "7"
        choice(screen, "method").value = "esd"
        await until(lambda: "guidance" in screen.values() and problem(screen) == "ready", "not its fields")
        assert {"ewc_lambda", "fisher_samples", "saliency"}.isdisjoint(screen.values())
        assert "-P method=esd" in " ".join(screen.command())
        assert "ewc_lambda" not in " ".join(screen.command())
        choice(screen, "method").value = "selective-amnesia"
        await until(lambda: screen.values().get("ewc_lambda") == "7", "what was entered is gone")


async def test_a_past_run_is_cloned_into_the_form(scene: Scene, tmp_path: Path) -> None:
    app: AmnesiaApp = application(scene.uri, tmp_path, start="runs")
    async with opened(app, WIDE) as pilot:
        app.post_message(OpenRun(scene.runs["going"]))
        await until(lambda: "forget 3" in text(app), "the run is not shown")
        await press(pilot, "a")
        await until(lambda: isinstance(app.screen, LaunchScreen), "no form")
        screen = app.screen
        assert isinstance(screen, LaunchScreen)
        await until(screen.values, "no fields")
        assert (screen.values()["classes"], screen.values()["from_version"]) == ("3", "2")


def choice(screen: LaunchScreen, name: str) -> Select[str]:
    return next(one for one in screen.query(Select) if one.name == name)


def laid_out(screen: LaunchScreen, name: str) -> bool:
    """Whether the form has the field and every choice shows its word."""
    choices = [one for one in screen.query(Select) if one.has_class("field")]
    return any(one.name == name for one in screen.query(Input)) and not any(
        one.is_blank() or not one.query("#label") for one in choices
    )


async def on_slurm(pilot: Pilot[None]) -> LaunchScreen:
    """The form, with SLURM chosen."""
    screen = await form(pilot)
    choice(screen, "run_on").value = "slurm"
    await until(lambda: laid_out(screen, "partition"), "no fields of the scheduler")
    return screen


async def test_a_run_on_slurm_is_the_command_that_submits_and_follows_it(
    scene: Scene, tmp_path: Path
) -> None:
    app = application(scene.uri, tmp_path, slurm=True)
    async with opened(app, SMALL) as pilot:
        screen = await on_slurm(pilot)
        field(screen, "classes").value = "3"
        field(screen, "partition").value = "long"
        field(screen, "sweep").value = "classes=3,4"
        await press(pilot, "ctrl+y")
        assert app.clipboard == (
            f"MLFLOW_TRACKING_URI={scene.uri} "
            "sa-mlops submit forget --classes=3 --from-version=2 --dataset=digits --sweep=classes=3,4 "
            "--partition=long --target=slurm --follow=true"
        )
        choice(screen, "run_on").value = "here"
        await until(lambda: not screen.order(), "the scheduler's fields stay")
        assert screen.command()[:2] == ("mlflow", "run")
        assert screen.values()["classes"] == "3"


async def test_a_mistake_in_what_the_scheduler_is_told_is_told_while_typing(
    scene: Scene, tmp_path: Path
) -> None:
    app = application(scene.uri, tmp_path, slurm=True)
    mistakes = (
        ("minutes", "0", "--minutes"),
        ("sweep", "classes=1,12", "--classes"),
        ("sweep", "seeds=1", "--sweep"),
    )
    async with opened(app, WIDE) as pilot:
        await told(pilot, await on_slurm(pilot), mistakes)


async def test_a_run_on_slurm_is_queued_as_one(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = application(scene.uri, tmp_path, slurm=True)
    monkeypatch.setattr(app.workspace.launcher, "tick", list)
    async with opened(app, WIDE) as pilot:
        screen = await on_slurm(pilot)
        field(screen, "classes").value = "3"
        await press(pilot, "ctrl+r")
        await until(lambda: "○ queued" in text(app), "it is not in the list of runs")
        (seen,) = app.workspace.launcher.launches()
        assert (seen.launch.device, seen.launch.command[:3]) == ("slurm", ("sa-mlops", "submit", "forget"))
