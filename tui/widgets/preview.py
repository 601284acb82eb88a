"""Samples of a version beside its parent and base, with a latent axis to move along."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from rich.text import Text
from textual import events, work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.timer import Timer
from textual.widget import Widget

from sa_mlops.files import replacing
from sa_mlops.registry.version import Version
from tui.plain import clean
from tui.services.sampler import Latents
from tui.services.workspace import Workspace
from tui.widgets.canvas import Canvas, Shown
from tui.widgets.picture import ACROSS, Samples, draw_samples, mosaic, one_class
from tui.widgets.toast import say

PAUSE = 0.05
"""Seconds that the cursor must rest on a version before its samples are drawn."""
REACH, STEP = 3.0, 0.25
"""Range and step of the slider."""
ROWS = 4


@dataclass(frozen=True, slots=True)
class View:
    """Latents, one class or all (None), and the axis of the slider (None: off)."""

    seed: int = 0
    label: int | None = None
    axis: int | None = None
    value: float = 0.0

    @property
    def latents(self) -> Latents:
        """The latents of the view."""
        shift = {} if self.axis is None else {self.axis: self.value}
        return Latents(self.seed, ROWS if self.label is None else ROWS * ACROSS, shift, self.label)


@dataclass(frozen=True, slots=True)
class Drawing:
    """A request for a drawing; everything that it depends on."""

    versions: tuple[str, ...]
    excuse: str
    view: View
    size: Size
    theme: str


class Slider(Widget):
    """Position of the latents on one axis; a click moves it."""

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
        """Choose the value under the pointer."""
        start, length = self._track()
        share = (event.x - start) / max(1, length - 1)
        self.post_message(self.Moved(REACH * (2 * min(1.0, max(0.0, share)) - 1)))


class Preview(Vertical):
    """Samples of versions below each other at the same latents."""

    view: reactive[View] = reactive(View(), init=False)

    @dataclass
    class Drawn(Message, bubble=False):
        """A worker has finished a drawing."""

        drawing: Drawing
        shown: Shown
        z_dim: int

    def __init__(self, workspace: Workspace, *, id: str | None = None) -> None:  # noqa: A002  # Textual's own name for it
        super().__init__(id=id)
        self.workspace = workspace
        self.versions: Sequence[Version] = ()
        self.excuse = ""
        self.z_dim = 0
        self._timer: Timer | None = None
        self._asked: Drawing | None = None

    def compose(self) -> ComposeResult:
        """A picture and the slider."""
        yield Canvas(self.workspace.graphics, id="samples-canvas")
        yield Slider(id="slider")

    def show(self, versions: Sequence[Version], excuse: str = "") -> None:
        """Draw these versions, the selected one first; without any, show the excuse."""
        self.versions = versions
        self.excuse = excuse
        self._later()

    def watch_view(self, view: View) -> None:
        """Draw other latents."""
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

    def turn(self, what: Literal["seed", "class", "axis", "value"], by: int) -> None:
        """Other latents, the next class alone, another axis, or a step along the axis."""
        view = self.view
        if what == "value" and view.axis is None:
            view = replace(view, axis=0)
        match what:
            case "seed":
                view = replace(view, seed=max(0, view.seed + by))
            case "class":
                count = len(self.versions[0].classes) if self.versions else 0
                view = replace(view, label=_turned(view.label, by, count))
            case "axis":
                view = replace(view, axis=_turned(view.axis, by, max(1, self.z_dim)), value=0.0)
            case "value":
                view = replace(view, value=min(REACH, max(-REACH, view.value + by * STEP)))
        self.view = view

    def _later(self) -> None:
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(PAUSE, self._draw)

    def _wanted(self) -> Drawing:
        uris = tuple(v.uri for v in self.versions)
        return Drawing(uris, self.excuse, self.view, self.query_one(Canvas).size, self.app.theme)

    def _draw(self) -> None:
        drawing = self._wanted()
        if not self.is_on_screen or drawing.size.width < 8 or drawing.size.height < 3:
            return
        if drawing != self._asked:
            self._asked = drawing
            self.workers.cancel_group(self, "samples")
            if not self.versions:
                self.query_one(Canvas).show(Text(self.excuse))
                return
            if not self.workspace.sampler.started:
                self.query_one(Canvas).show(Text("drawing… (PyTorch starts in a separate process)", "dim"))
            self.decode(self.versions, drawing)

    def redraw(self) -> None:
        """Draw again even if nothing seems to have changed."""
        self._asked = None
        self._later()

    @work(thread=True, exclusive=True, group="samples")
    def decode(self, versions: Sequence[Version], drawing: Drawing) -> None:
        """Decode and draw in a worker thread."""
        shown: Shown
        z_dim = 0
        try:
            panels = self.panels(versions, drawing.view)
            z_dim = panels[0].images.z_dim
            width, height = drawing.size
            shown = draw_samples(panels, width, height) if self._half else mosaic(panels)
        except Exception as error:  # files lost, or of another project: one line in place of the pictures
            shown = Text(f"no samples: {clean(error)}")
        self.post_message(self.Drawn(drawing, shown, z_dim))

    def on_preview_drawn(self, message: Drawn) -> None:
        """Show a drawing, unless the selection has moved on."""
        if message.drawing == self._wanted():
            self.z_dim = message.z_dim
            self.query_one(Canvas).show(message.shown)

    @property
    def _half(self) -> bool:
        return self.workspace.graphics == "half"

    def panels(self, versions: Sequence[Version], view: View) -> list[Samples]:
        """Decoded samples; blocks. The first version must have some; others without samples are omitted."""
        panels: list[Samples] = []
        for version in versions:
            try:
                folder = self.workspace.store.files(version)
                images = self.workspace.sampler.images(folder, view.latents)
            except Exception:
                if not panels:
                    raise
                continue
            title = f"{clean(version.title, 60)}   seed {view.seed}"
            if view.label is None:
                panels.append(Samples(title, images, version.classes, version.forgotten_indices))
            else:
                forgotten = " (forgotten)" if view.label in version.forgotten_indices else ""
                title += f"   class {clean(version.classes[view.label], 30)}{forgotten}"
                panels.append(one_class(Samples(title, images, ())))
        return panels

    @work(thread=True, group="save")
    def save(self, out: Path) -> None:
        """Write the samples as a PNG file, in a worker thread."""
        try:
            with replacing(out) as part:
                mosaic(self.panels(self.versions, self.view)).save(part, "PNG")
        except Exception as error:  # no samples, or no place to write
            say(self, f"not written: {clean(error)}", bad=True)
        else:
            say(self, f"written to {out}")


def _turned(at: int | None, by: int, count: int) -> int | None:
    """The next of `count` numbers; None stands between the last and the first."""
    step = ((-1 if at is None else at) + 1 + by) % (count + 1) - 1
    return None if step < 0 else step
