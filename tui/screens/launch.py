"""The launch form: the fields of an entry point, checked as they are typed, over the command as it will run."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, Select, Static

from sa_mlops.config import ENTRY_POINTS
from sa_mlops.parameters import Parameter, ParameterError
from tui.services.launcher import command_for, spell

TITLES = {"what": "What", "how": "How", "where": "Where"}


class LaunchScreen(ModalScreen[list[str] | None]):
    """Asks for an entry point and its parameters; hands back the command, or None.

    Parameters
    ----------
    entry : entry point to begin with.
    given : values to begin with, by parameter.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape", "dismiss(None)", "Close"),
        ("ctrl+r", "run", "Run"),
        ("ctrl+y", "copy", "Copy command"),
    ]

    def __init__(self, entry: str = "forget", given: dict[str, str] | None = None) -> None:
        super().__init__()
        self.entry = entry
        self.given = given or {}

    @property
    def parameters(self) -> dict[str, Parameter]:
        """The fields of the chosen entry point, grouped."""
        found = ENTRY_POINTS[self.entry].config.parameters()
        return dict(sorted(found.items(), key=lambda item: list(TITLES).index(item[1].group)))

    @property
    def defaults(self) -> dict[str, str]:
        """Spelled defaults by parameter."""
        return {name: p.spell(p.default) for name, p in self.parameters.items()}

    def compose(self) -> ComposeResult:
        """Fields above, command and buttons below."""
        with Vertical(id="launch"):
            yield Select(
                [(f"{n}: {e.help}", n) for n, e in ENTRY_POINTS.items()],
                value=self.entry,
                allow_blank=False,
                id="entry",
            )
            yield VerticalScroll(id="fields")
            yield Static(id="command")
            yield Static(id="problem")
            with Horizontal(id="buttons"):
                yield Button("Run  ^r", variant="primary", id="run")
                yield Button("Close  esc", id="close")

    async def on_mount(self) -> None:
        """Show the fields of the first entry point."""
        await self._fill()

    async def on_select_changed(self, event: Select.Changed) -> None:
        """Show the fields of another entry point."""
        if event.select.id == "entry" and str(event.value) != self.entry:
            self.entry = str(event.value)
            await self._fill()

    async def _fill(self) -> None:
        fields = self.query_one("#fields", VerticalScroll)
        await fields.remove_children()
        group = ""
        widgets: list[Label | Input] = []
        for name, p in self.parameters.items():
            if p.group != group:
                group = p.group
                widgets.append(Label(TITLES[group], classes="group"))
            widgets.append(Label(f"{name}: {p.help}", markup=False))
            value = self.given.get(name, p.spell(p.default))
            widgets.append(Input(value, placeholder=p.allowed, name=name, classes="field"))
        await fields.mount(*widgets)
        self._show()

    def on_input_changed(self, _event: Input.Changed) -> None:
        """Check what was typed and show the command."""
        self._show()

    def values(self) -> dict[str, str]:
        """What stands in the fields."""
        return {str(field.name): field.value for field in self.query(".field").results(Input)}

    def problem(self) -> str:
        """The first mistake in the fields, one line; empty without one."""
        try:
            parsed = {
                n: self.parameters[n].parse(n, v) for n, v in self.values().items() if n in self.parameters
            }
            ENTRY_POINTS[self.entry].config(**parsed)  # type: ignore[arg-type]
        except ParameterError as error:
            return str(error)
        return ""

    def command(self) -> list[str]:
        """The command that the fields spell."""
        return command_for(self.entry, self.values(), self.defaults)

    def _show(self) -> None:
        problem = self.problem()
        self.query_one("#command", Static).update(_plain(spell(self.command())))
        self.query_one("#problem", Static).update(_plain(problem))
        self.query_one("#run", Button).disabled = bool(problem)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Run or close."""
        if event.button.id == "run":
            self.action_run()
        else:
            self.dismiss(None)

    def action_run(self) -> None:
        """Hand the command back, if it is right."""
        if not self.problem():
            self.dismiss(self.command())

    def action_copy(self) -> None:
        """Copy the command."""
        self.app.copy_to_clipboard(spell(self.command()))
        self.notify("command copied")


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)
