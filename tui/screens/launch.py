"""The launch form: the parameters of an entry point, checked while typing, beside the command that will run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widget import Widget
from textual.widgets import Button, Input, Label, Select, Static

from sa_mlops import datasets
from sa_mlops.cluster.plan import plan
from sa_mlops.config import ENTRY_POINTS, StepConfig, SubmitConfig
from sa_mlops.methods import interface
from sa_mlops.parameters import Parameter, ParameterError
from sa_mlops.registry import names
from tui.messages import MeasureDevices
from tui.plain import whole
from tui.screens.keys import bind, named
from tui.screens.modal import Modal
from tui.services.launcher import AUTO, SLURM, command_for, spell, submit_command_for, typed
from tui.services.workspace import Workspace
from tui.widgets.keys import Keys
from tui.widgets.toast import copy

TITLES = {"what": "What", "how": "How", "where": "Where"}
GENERATOR_FIELDS = ("from_version", "version")
RUN_ON, HERE = "run_on", "here"
PLACES = ((HERE, "this machine"), (SLURM, "SLURM: a job of the cluster, followed from here"))
ORDER = {name: p for name, p in SubmitConfig.parameters().items() if name not in ("target", "follow")}
"""Options of the scheduler."""


@dataclass(frozen=True, slots=True)
class Order:
    """Result of the form: the command, its entry point and the value of its device."""

    command: tuple[str, ...]
    entry: str
    device: str


class LaunchScreen(Modal[Order | None]):
    """Asks for an entry point and its parameters.

    Parameters
    ----------
    entry : the first entry point.
    given : first values by parameter, also of other entry points.
    """

    BINDINGS: ClassVar[list[BindingType]] = named(
        "launch",
        [
            bind("escape", "dismiss(None)", "close"),
            bind("ctrl+r", "run", "run", priority=True),
            bind("ctrl+y", "copy", "copy command", priority=True),
        ],
    )

    AUTO_FOCUS = "#fields .field"

    def __init__(self, workspace: Workspace, entry: str, given: Mapping[str, str]) -> None:
        super().__init__()
        self.workspace = workspace
        entry = names.OLD_STAGES.get(entry, entry)
        self.entry = entry if entry in ENTRY_POINTS else "forget"
        self.given = dict(given)
        # Runs of earlier versions were given digits.
        if digits := given.get("digits") or given.get("digit"):
            self.given.setdefault("classes", digits)
        self.place = HERE
        self._checked: object = None

    @property
    def method(self) -> str:
        """The chosen method, or the default."""
        return self.given.get("method", interface.DEFAULT)

    @property
    def parameters(self) -> dict[str, Parameter]:
        """The parameters of the chosen entry point and method, grouped."""
        config = ENTRY_POINTS[self.entry].config
        found = config.parameters_with(self.method) if issubclass(config, StepConfig) else config.parameters()
        # The method decides which other fields there are.
        groups = list(TITLES)
        return dict(
            sorted(found.items(), key=lambda item: (groups.index(item[1].group), item[0] != "method"))
        )

    def compose(self) -> ComposeResult:
        """Fields beside the command and the devices."""
        with Vertical(id="launch") as box:
            box.border_title = "Launch"
            yield _select(
                [(name, f"{name}: {e.help}") for name, e in ENTRY_POINTS.items()], self.entry, "entry"
            )
            with Horizontal(id="launch-panes"):
                yield VerticalScroll(id="fields")
                with Vertical(id="outcome"):
                    yield Static(id="problem", markup=False)
                    yield Static(id="command", markup=False)
                    yield Static(id="field-help", markup=False)
                    yield Static(id="device-table", markup=False)
            with Horizontal(id="buttons"):
                yield Button("Run  ^r", variant="primary", id="run")
                yield Button("Close  esc", id="close")
        yield Keys()

    async def on_mount(self) -> None:
        """Show the fields of the first entry point and the devices."""
        await self.fill()
        self.query(".field").first().focus()
        self.on_status_changed()
        self.post_message(MeasureDevices())

    async def on_select_changed(self, event: Select.Changed) -> None:
        """Show the fields of another entry point, method or place, or check a choice."""
        name, value = event.select.name or "", str(event.value)
        shown = {"entry": self.entry, "method": self.method, RUN_ON: self.place}
        if shown.get(name, value) == value:
            self.check()
            return
        self.given |= self._entered()
        self.entry, self.place = (shown | {name: value})["entry"], (shown | {name: value})[RUN_ON]
        known = self.parameters
        self.given = {k: v for k, v in self.given.items() if k not in known or _fits(known[k], v)}
        await self.fill()
        # None is left if the form was closed meanwhile.
        for field in self.query(".field") if name != "entry" else ():
            if field.name == name:
                field.focus()

    async def fill(self) -> None:
        """The fields of the entry point, a line each."""
        fields = self.query_one("#fields", VerticalScroll)
        group = ""
        widgets: list[Widget] = []
        for name, parameter in self.parameters.items():
            if parameter.group != group:
                group = parameter.group
                widgets.append(Label(TITLES[group], classes="group"))
            widgets.append(Label(name, markup=False))
            widgets.append(self._field(name, parameter))
        if self.workspace.slurm:
            widgets += [Label("Place", classes="group"), Label("run on")]
            widgets.append(_select(PLACES, self.place, RUN_ON, "field"))
        if self.place == SLURM:
            for name, parameter in ORDER.items():
                widgets += [Label(name, markup=False), self._field(name, parameter)]
        with self.app.batch_update():
            await fields.remove_children()
            await fields.mount(*widgets)
        self._checked = None
        self.check()

    def _field(self, name: str, parameter: Parameter) -> Widget:
        value = self._first(name, parameter)
        words = self._choices(name, parameter)
        if words:
            return _select(words, value, name, "field")
        return Input(value, placeholder=parameter.allowed, name=name, classes="field", compact=True)

    def _first(self, name: str, parameter: Parameter) -> str:
        """Value of a field before anything is entered."""
        return self.given.get(name, parameter.spell(parameter.default))

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """Explain the field."""
        name = event.widget.name or ""
        parameter = self.parameters.get(name) or (ORDER.get(name) if self.place == SLURM else None)
        text = Text()
        if parameter is not None:
            default = parameter.spell(parameter.default) or "none"
            text.append(f"{event.widget.name}  ", style="bold")
            text.append(f"{parameter.help}; {parameter.allowed}; default {default}")
        self.query_one("#field-help", Static).update(text)

    def _choices(self, name: str, parameter: Parameter) -> Sequence[tuple[str, str]]:
        """Words and labels to choose from; empty for fields that are typed."""
        if parameter.kind == "bool":
            return (("true", "true"), ("false", "false"))
        if parameter.kind == "choice":
            return tuple((word, word) for word in parameter.choices)
        if name == "dataset":
            return tuple((word, word) for word in datasets.known())
        if name == "device":
            known = [("auto", "auto: the first free device"), ("cpu", "cpu")]
            return [
                *known,
                *((d.word, f"{d.word} {d.name}") for d in self.workspace.devices if d.word != "cpu"),
            ]
        return ()

    # ------------------------------------------------------------------ checking

    def values(self) -> dict[str, str]:
        """Values of the entry point's fields."""
        found = self._entered()
        return {name: found.get(name, self._first(name, p)) for name, p in self.parameters.items()}

    def order(self) -> dict[str, str]:
        """Values of the scheduler's fields; empty on this machine."""
        if self.place != SLURM:
            return {}
        found = self._entered()
        return {name: found.get(name, self._first(name, p)) for name, p in ORDER.items()}

    def _entered(self) -> dict[str, str]:
        found = {}
        for field in self.query(".field"):
            if isinstance(field, Input):
                found[str(field.name)] = field.value.strip()
            elif isinstance(field, Select) and not field.is_blank():  # it is, until it is laid out
                found[str(field.name)] = str(field.value)
        return found

    def problem(self) -> tuple[str, str]:
        """Name of the first field with a mistake, and the mistake in one line; both empty without one."""
        definitions = self.parameters
        try:
            parsed = {name: definitions[name].parse(name, text) for name, text in self.values().items()}
            parsed = {name: value for name, value in parsed.items() if value != definitions[name].default}
            ENTRY_POINTS[self.entry].config(**parsed)  # type: ignore[arg-type]
            if self.place == SLURM:
                order = {name: ORDER[name].parse(name, text) for name, text in self.order().items()}
                plan(ENTRY_POINTS[self.entry], parsed, SubmitConfig(**order))  # type: ignore[arg-type]
            self._check_generator()
        except ParameterError as error:
            return error.name, str(error)
        return "", ""

    def _check_generator(self) -> None:
        """Raise ParameterError for an unknown generator, or one that has already forgotten a class of the form."""
        snapshot, values = self.workspace.snapshot, self.values()
        for name in GENERATOR_FIELDS:
            word = values.get(name, "").removeprefix("v")
            if not (word.isdecimal() and snapshot.complete):
                continue
            version = snapshot.generator(whole(word))
            if version is None:
                raise ParameterError(name, word, "the number of a registered generator")
            if name == "from_version" and values.get("classes"):
                spec = datasets.spec(values["dataset"])
                chosen = spec.names(spec.indices(values["classes"].split(",")))
                again = [c for c in chosen if c in version.forgotten]
                if again:
                    raise ParameterError(
                        "classes", ",".join(again), f"classes that v{word} has not forgotten"
                    )

    def command(self) -> tuple[str, ...]:
        """The command of the fields."""
        defaults = {name: p.spell(p.default) for name, p in self.parameters.items()}
        if self.place == SLURM:
            return submit_command_for(self.entry, self.values(), defaults, self.order())
        return command_for(self.entry, self.values(), defaults)

    def on_input_changed(self, _event: Input.Changed) -> None:
        """Check the fields."""
        self.check()

    def check(self) -> None:
        """Show the command and the first mistake, unless they are shown: every field reports its first value too."""
        now = (self.entry, self.place, self.values(), self.order(), self.workspace.snapshot)
        if now == self._checked:
            return
        self._checked = now
        wrong, message = self.problem()
        for field in self.query(".field"):
            field.set_class(field.name == wrong and bool(wrong), "-wrong")
        problem = self.query_one("#problem", Static)
        problem.update(Text(message or "ready"))
        problem.set_class(bool(message), "-wrong")
        self.query_one("#command", Static).update(Text(f"$ {spell(self.command())}"))
        self.query_one("#run", Button).disabled = bool(message)

    def on_status_changed(self) -> None:
        """Show the devices."""
        text = Text("devices\n", style="bold")
        for device in self.workspace.devices:
            text.append(device.line() + "\n", style="not bold")
        waiting, busy = self.workspace.queued, self.workspace.running
        text.append(f"{busy} running, {waiting} queued; one run a device\n", style="dim not bold")
        text.append(f"store {self.workspace.store.uri}", style="dim not bold")
        self.query_one("#device-table", Static).update(text)

    # ------------------------------------------------------------------ keys

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Run or close."""
        if event.button.id == "run":
            self.action_run()
        else:
            self.dismiss(None)

    def action_run(self) -> None:
        """Return the command, if it is valid."""
        wrong, _ = self.problem()
        if wrong:
            self.query(".field.-wrong").first().focus()
        else:
            device = SLURM if self.place == SLURM else self.values().get("device", AUTO)
            self.dismiss(Order(self.command(), self.entry, device))

    def action_copy(self) -> None:
        """Copy the command with its store."""
        copy(self, typed(self.command(), self.workspace.store.uri))


def _fits(parameter: Parameter, text: str) -> bool:
    """Whether a value of another entry point is allowed here."""
    try:
        parameter.parse("", text)
    except ParameterError:
        return False
    return True


def _select(words: Sequence[tuple[str, str]], value: str, name: str, classes: str = "") -> Select[str]:
    """A choice among words with labels, in one line; a value that is not among them is added."""
    options = [(label, word) for word, label in words]
    if value not in dict(words):
        options.append((value, value))
    return Select(options, value=value, allow_blank=False, compact=True, name=name, classes=classes)
