"""The application under test, and what stands on its screen."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from textual.pilot import Pilot
from waiting import until

from sa_mlops.registry import names
from tui.app import AmnesiaApp
from tui.screens.registry import RegistryScreen
from tui.screens.runs import RunsScreen
from tui.services.sampler import Sampler

WIDE, USUAL, SMALL = (200, 60), (140, 44), (80, 24)
SIZES = (SMALL, WIDE)


class Lent(Sampler):
    """A process that draws samples for the applications of many tests: PyTorch takes seconds to start."""

    def close(self) -> None:
        """It goes on; `DRAWING.end` ends it."""

    def end(self) -> None:
        """With the session."""
        super().close()


DRAWING = Lent()


def application(
    uri: str,
    folder: Path,
    *,
    tab: str = "metrics",
    start: str = "registry",
    read_only: bool = False,
    slurm: bool = False,
    sampler: Sampler = DRAWING,
) -> AmnesiaApp:
    """An application with its state in `folder`, without animations. Only the tab `samples` draws samples.

    Parameters
    ----------
    slurm : whether it finds SLURM, whatever this machine has.
    """
    state = folder / "state"
    state.mkdir(exist_ok=True)
    (state / "tui.json").write_text(json.dumps({"tab": tab, "screen": start}))
    app = AmnesiaApp(uri, read_only=read_only, state=state)
    app.animation_level = "none"
    app.workspace.slurm, app.workspace.sampler = slurm, sampler
    return app


@asynccontextmanager
async def opened(app: AmnesiaApp, size: tuple[int, int] = USUAL) -> AsyncIterator[Pilot[None]]:
    """The application with the store read."""
    async with app.run_test(size=size) as pilot:
        await until(lambda: app.workspace.stale or app.workspace.snapshot.complete, "the store was not read")
        await pilot.pause()
        yield pilot


def text(app: AmnesiaApp) -> str:
    """Every character on the screen."""
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


def toasts(app: AmnesiaApp) -> str:
    """What was said so far, newest last."""
    return "\n".join(str(note.message) for note in app._notifications)


def registry(app: AmnesiaApp) -> RegistryScreen:
    """The registry, which is shown."""
    assert isinstance(app.screen, RegistryScreen)
    return app.screen


def runs(app: AmnesiaApp) -> RunsScreen:
    """The runs, which are shown."""
    assert isinstance(app.screen, RunsScreen)
    return app.screen


async def select(pilot: Pilot[None], number: int) -> None:
    """Put the cursor on a generator."""
    app = pilot.app
    assert isinstance(app, AmnesiaApp)
    registry(app).go_to(str(number))
    uri = names.version_uri(names.GENERATORS, number)
    await until(
        lambda: (v := registry(app).version) is not None and v.uri == uri, f"v{number} is not selected"
    )
    await pilot.pause()


async def press(pilot: Pilot[None], *keys: str) -> None:
    """Press keys and let the application answer."""
    await pilot.press(*keys)
    await pilot.pause()
