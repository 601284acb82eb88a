"""Samples of a version, drawn in a worker thread, beside parent and base, with a latent axis to move along."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from rich.text import Text
from textual import events, work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.reactive import reactive
from textual.strip import Strip
from textual.timer import Timer
from textual.widget import Widget
from textual.worker import get_current_worker

from tui.plain import clean
from tui.services.sampler import Images, Latents
from tui.widgets.canvas import Canvas
from tui.widgets.picture import ALL_DIGITS, Panel, draw_samples, mosaic, one_digit

if TYPE_CHECKING:
    from PIL.Image import Image

    from sa_mlops.registry.version import Version
    from tui.app import AmnesiaApp

PAUSE = 0.05
"""Seconds that the cursor must rest on a version before its samples are drawn."""
REACH = 3.0
ROWS = 4


@dataclass(frozen=True, slots=True)
class View:
    """What is drawn: latents, one digit or all (None), and the axis that the slider is on (None: off)."""

    seed: int = 0
    digit: int | None = None
    axis: int | None = None
    value: float = 0.0

    @property
    def latents(self) -> Latents:
        """The latents of it."""
        shift = {} if self.axis is None else {self.axis: self.value}
        return Latents(self.seed, ROWS if self.digit is None else 4 * len(ALL_DIGITS), shift)


class Slider(Widget):
    """Where on its axis the latent is; a click moves it."""

    DEFAULT_CSS = "Slider { height: 1; display: none; } Slider.on { display: block; }"
    view: reactive[View] = reactive(View())

    class Moved(Message):
        """A click chose a value."""

        def __init__(self, value: float) -> None:
            super().__init__()
            self.value = value

    def _track(self) -> tuple[int, int]:
        return 8, max(4, self.size.width - 30)

    def render(self) -> Text:
        """The slider."""
        axis, value = self.view.axis or 0, self.view.value
        _, length = self._track()
        at = round((value + REACH) / (2 * REACH) * (length - 1))
        track = "─" * at + "●" + "─" * (length - 1 - at)
        return Text(f"z{axis:<4} ◂ {track} ▸ {value:+.2f}   , . axis  - + move", no_wrap=True)

    def on_click(self, event: events.Click) -> None:
        """Move there."""
        start, length = self._track()
        share = (event.x - start) / max(1, length - 1)
        self.post_message(self.Moved(REACH * (2 * min(1.0, max(0.0, share)) - 1)))


class Preview(Vertical):
    """Samples of versions under each other at the same latents."""

    view: reactive[View] = reactive(View(), init=False)

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  # Textual's own name for it
        super().__init__(id=id)
        self.versions: list[Version] = []
        self.excuse = ""
        self.z_dim = 0
        self._timer: Timer | None = None
        self._drawn_for: tuple[object, ...] = ()

    def compose(self) -> ComposeResult:
        """A picture and the slider."""
        yield Canvas(id="samples-canvas")
        yield Slider(id="slider")

    def show(self, versions: list[Version], excuse: str = "") -> None:
        """Draw these versions, the selected one first; without any, say why."""
        self.versions = versions
        self.excuse = excuse
        self._later()

    def watch_view(self, view: View) -> None:
        """Draw for other latents."""
        slider = self.query_one(Slider)
        slider.view = view
        slider.set_class(view.axis is not None, "on")
        self._later()

    def on_slider_moved(self, event: Slider.Moved) -> None:
        """Move along the axis."""
        self.view = replace(self.view, value=event.value)

    def on_resize(self, _event: events.Resize) -> None:
        """Draw for the new size."""
        self._later()

    def reseed(self, by: int) -> None:
        """Other latents."""
        self.view = replace(self.view, seed=max(0, self.view.seed + by))

    def turn_digit(self, by: int) -> None:
        """All digits, then each one alone."""
        at = -1 if self.view.digit is None else self.view.digit
        at = (at + 1 + by) % (len(ALL_DIGITS) + 1) - 1
        self.view = replace(self.view, digit=None if at < 0 else at)

    def turn_axis(self, by: int) -> None:
        """Put the slider on the next axis; past the last it goes away."""
        count = max(1, self.z_dim)
        at = -1 if self.view.axis is None else self.view.axis
        at = (at + 1 + by) % (count + 1) - 1
        self.view = replace(self.view, axis=None if at < 0 else at, value=0.0)

    def slide(self, by: float) -> None:
        """Move along the axis of the slider."""
        if self.view.axis is None:
            self.turn_axis(1)
        self.view = replace(self.view, value=min(REACH, max(-REACH, self.view.value + by)))

    def _later(self) -> None:
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(PAUSE, self._draw)

    def _draw(self) -> None:
        size = self.query_one(Canvas).size
        if not self.is_on_screen or size.width < 8 or size.height < 3:
            return
        asked = (tuple(v.uri for v in self.versions), self.excuse, self.view, size, self.app.theme)
        if asked != self._drawn_for:
            self._drawn_for = asked
            if not self.versions:
                self.query_one(Canvas).show(Text(self.excuse))
                return
            if not cast("AmnesiaApp", self.app).sampler.started:
                self.query_one(Canvas).show(Text("drawing… (PyTorch starts in a process of its own)", "dim"))
            self.decode(list(self.versions), self.view, size.width, size.height)

    def redraw(self) -> None:
        """Draw again even if nothing seems to have changed."""
        self._drawn_for = ()
        self._later()

    @work(thread=True, exclusive=True, group="samples")
    def decode(self, versions: list[Version], view: View, width: int, height: int) -> None:
        """Decode and draw in a worker thread."""
        worker = get_current_worker()
        try:
            panels = self.panels(versions, view)
            if worker.is_cancelled:
                return
            shown: list[Strip] | Text | Image
            if cast("AmnesiaApp", self.app).graphics == "half":
                shown = draw_samples(panels, width, height, ALL_DIGITS)
            else:
                shown = mosaic(panels, ALL_DIGITS)
            z_dim = panels[0].images.z_dim
        except (
            Exception
        ) as error:  # files gone, made by another project: one line where the pictures would be
            shown, z_dim = Text(f"no samples: {clean(error)}"), 0
        if not worker.is_cancelled:
            self.app.call_from_thread(self._show, shown, z_dim)

    def panels(self, versions: list[Version], view: View) -> list[Panel]:
        """Decoded samples; blocks. The first version must have some, of the others those that have."""
        sa = cast("AmnesiaApp", self.app)
        panels: list[Panel] = []
        for version in versions:
            try:
                images: Images = sa.sampler.images(sa.store.files(version), view.latents)
            except Exception:
                if not panels:
                    raise
                continue
            title = f"{clean(version.title, 60)}   seed {view.seed}"
            panel = Panel(title, images, version.forgotten_indices)
            panels.append(panel if view.digit is None else one_digit(panel, view.digit))
        return panels

    def _show(self, shown: list[Strip] | Text | Image, z_dim: int) -> None:
        self.z_dim = z_dim
        self.query_one(Canvas).show(shown)

    @work(thread=True, group="save")
    def save(self, out: Path) -> None:
        """Write what is shown as a PNG, in a worker thread."""
        sa = cast("AmnesiaApp", self.app)
        try:
            panels = self.panels(list(self.versions), self.view)
            mosaic(panels, ALL_DIGITS).save(out, "PNG")
        except Exception as error:  # no samples, or nowhere to write
            sa.tell(sa.say, f"not written: {clean(error)}", True)
        else:
            sa.tell(sa.say, f"written to {out}")
