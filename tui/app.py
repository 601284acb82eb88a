"""The application: reads the store, runs the queue, and gives the screens their workspace."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from rich.text import Text
from textual import events, work
from textual.app import App, SystemCommand
from textual.binding import BindingType
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Input

from sa_mlops.registry import names
from sa_mlops.registry.stores import StoreError
from sa_mlops.registry.version import Version
from tui import messages
from tui.plain import clean
from tui.screens import keys
from tui.screens.confirm import ConfirmScreen
from tui.screens.help import HelpScreen
from tui.screens.keys import hidden, named
from tui.screens.launch import LaunchScreen, Order
from tui.screens.main import MainScreen
from tui.screens.registry import RegistryScreen
from tui.screens.runs import RunsScreen
from tui.screens.text import TextScreen
from tui.screens.tuning import TuningScreen
from tui.services import commands, demo, keeper
from tui.services.devices import Device, devices, slurm
from tui.services.launcher import SLURM, Launcher, Tracked, reap, spell
from tui.services.layout import Layout
from tui.services.records import Snapshot, with_lost
from tui.services.store import Store
from tui.services.workspace import Graphics, Workspace
from tui.widgets.prompt import Prompt
from tui.widgets.toast import say

POLL_SECONDS = 2.0
DEVICE_SECONDS = 5.0
SCREENS: dict[str, type[MainScreen]] = {
    "registry": RegistryScreen,
    "runs": RunsScreen,
    "tuning": TuningScreen,
}
STATE_FOLDER = ".sa-mlops"
PROJECT_FILE = "MLproject"


def find_project() -> Path:
    """The folder with MLproject: this one, else that of the package."""
    here = Path.cwd()
    packaged = Path(__file__).resolve().parents[1]
    return here if (here / PROJECT_FILE).is_file() else packaged


class AmnesiaApp(App[None]):
    """Browse versions and lineage, preview samples, launch and follow runs, promote.

    Parameters
    ----------
    uri : tracking store.
    read_only : no launch, cancellation, promotion or deletion, and no file is written.
    demo : the store is the built-in demo, which is made if it is empty.
    state : folder for records of runs and the remembered layout; by default `.sa-mlops` in the project.
    graphics : how pictures are drawn.
    keymap : file with other keys for some actions, if it exists.
    """

    TITLE = "sa-mlops"
    CSS_PATH = "app.tcss"
    DEFAULT_MODE = "registry"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]  # noqa: RUF012  # annotated in the base class
    BINDINGS: ClassVar[list[BindingType]] = named(
        "app",
        [
            hidden("1", "show('registry')", "Registry"),
            hidden("2", "show('runs')", "Runs"),
            hidden("3", "show('tuning')", "Tuning"),
            hidden("r", "reload", "read again", "read the whole store again"),
            hidden("e", "error", "error", "the full text of the last error"),
            hidden("d", "demo", "demo", "open the built-in demo store"),
            hidden("question_mark", "help", "help"),
            hidden("q", "quit", "quit"),
        ],
    )

    def __init__(
        self,
        uri: str,
        *,
        read_only: bool = False,
        demo: bool = False,
        state: Path | None = None,
        graphics: Graphics = "half",
        keymap: Path | None = None,
    ) -> None:
        super().__init__()
        self.keymap = keymap
        self.project = find_project()
        self.folder = state or self.project / STATE_FOLDER
        self.workspace = Workspace(
            store=Store(uri),
            launcher=Launcher(self.folder / "runs", self.project, uri),
            layout=Layout.read(self.folder / "tui.json"),
            graphics=graphics,
            read_only=read_only,
            demo=demo,
            slurm=slurm(),
        )
        self.failure = ""
        self._main: dict[str, MainScreen] = {}
        for mode in SCREENS:
            self.add_mode(mode, partial(self._make_screen, mode))
        self._reading = threading.Lock()
        self._measuring = threading.Lock()
        self._states: dict[str, str] = {}
        self._leaving = False

    def _make_screen(self, mode: str) -> MainScreen:
        self._main[mode] = SCREENS[mode](self.workspace)
        return self._main[mode]

    def on_mount(self) -> None:
        """Paint first, then read."""
        layout = self.workspace.layout
        if layout.theme in self.available_themes:
            self.theme = layout.theme
        if self.keymap is not None:
            given, problem = keys.read(self.keymap)
            self.set_keymap(given)
            if problem:
                say(self, problem, True)
        self.call_after_refresh(self.read_store, True)
        self.set_interval(POLL_SECONDS, self.read_store)
        self.set_interval(DEVICE_SECONDS, self.read_devices)
        if layout.screen in SCREENS:
            self.switch_mode(layout.screen)
        if self.workspace.demo and not self.workspace.read_only:
            self.fill_demo()

    def on_unmount(self) -> None:
        """Remember the layout; end everything that would keep the process alive. Runs continue."""
        self._leaving = True
        layout = self.workspace.layout
        layout.theme = self.theme
        layout.screen = self.current_mode if self.current_mode in SCREENS else self.DEFAULT_MODE
        if not self.workspace.read_only:
            layout.write(self.folder / "tui.json")
            # Also if the terminal was closed: the queue does not stand still.
            if any(t.state == "queued" for t in self.workspace.launches):
                keeper.hire(self.workspace.launcher)
        self.workspace.sampler.close()
        commands.stop_all()

    # ------------------------------------------------------------------ messages

    # Worker threads answer by `call_later` and by messages, which Textual delivers in the thread of the UI.

    def _broadcast(self, message: type[Message]) -> None:
        for screen in {*self._main.values(), *self.screen_stack}:
            screen.post_message(message())

    def on_measure_devices(self) -> None:
        """Measure the devices."""
        self.read_devices()

    # ------------------------------------------------------------------ reading

    @work(thread=True, group="store")
    def read_store(self, whole: bool = False) -> None:
        """Read store and launches in a worker thread, unless one is active; a failure leaves the last reading."""
        if not self._reading.acquire(blocking=False):
            return
        w = self.workspace
        store, known = w.store, w.snapshot
        try:
            launches = self._tend()
            news = store.changed()
            if whole or news or w.stale or not known.complete:
                for snapshot in store.read(known if known.complete else None, whole=whole):
                    self.call_later(self._read, store, with_lost(snapshot), launches)
                    if self._leaving or store is not w.store:
                        return
            else:
                snapshot = with_lost(known)
                if launches != w.launches or snapshot is not known:
                    self.call_later(self._read, store, snapshot, launches)
        except Exception as error:  # a store raises anything: the last reading stays and is marked
            store.forget_stamp()
            self.call_later(self._stale, store, error)
        finally:
            self._reading.release()

    def _tend(self) -> tuple[Tracked, ...]:
        """Look at the launches; start queued ones and stop cancelled ones. In a worker thread."""
        reap()
        launcher = self.workspace.launcher
        if not self.workspace.read_only:
            launcher.press()
            launcher.tick()
        launches = tuple(launcher.launches())
        for one in launches:
            before = self._states.get(one.launch.key)
            self._states[one.launch.key] = one.state
            if before in ("queued", "running") and not one.live:
                if one.state == "cancelled" and one.run_id:
                    self.workspace.store.end_killed(one.run_id)
                say(self, f"{one.launch.entry}: {one.state}", one.state in ("failed", "lost"))
        return launches

    def _read(self, store: Store, snapshot: Snapshot, launches: tuple[Tracked, ...]) -> None:
        w = self.workspace
        if store is not w.store:
            return
        w.snapshot, w.launches = snapshot, launches
        top = [r for r in snapshot.runs.values() if r.active and r.parent not in snapshot.runs]
        known = {r.run_id for r in top}
        # Jobs of the cluster may be queued there, and their runs count by themselves.
        starting = [
            t for t in launches if t.state == "running" and t.launch.slot != SLURM and t.run_id not in known
        ]
        w.stale, w.loading = "", not snapshot.complete
        w.running, w.queued = len(top) + len(starting), sum(t.state == "queued" for t in launches)
        self._broadcast(messages.StatusChanged)
        self._broadcast(messages.StoreRead)

    def _stale(self, store: Store, error: Exception) -> None:
        if store is not self.workspace.store:
            return
        text = f"{error}" if isinstance(error, StoreError) else f"{type(error).__name__}: {error}"
        self.failure = text if error.__cause__ is None else f"{text}\n\n{error.__cause__}"
        self.workspace.stale, self.workspace.loading = " ".join(text.split()), False
        self._broadcast(messages.StatusChanged)

    @work(thread=True, group="devices")
    def read_devices(self) -> None:
        """Measure the devices in a worker thread."""
        if self._measuring.acquire(blocking=False):
            try:
                self.call_later(self._devices, tuple(devices()))
            finally:
                self._measuring.release()

    def _devices(self, found: tuple[Device, ...]) -> None:
        self.workspace.launcher.gpus = [d.word for d in found if d.word.startswith("cuda:")]
        if found != self.workspace.devices:
            self.workspace.devices = found
            self._broadcast(messages.StatusChanged)

    # ------------------------------------------------------------------ screens

    def on_key(self, event: events.Key) -> None:
        """A letter that was on its way to a list when the line for typing was opened belongs to that line."""
        if isinstance(self.focused, Prompt) and event.is_printable and event.character is not None:
            self.focused.insert_text_at_cursor(event.character)
            event.prevent_default()

    def action_show(self, mode: str) -> None:
        """Show another screen; not from a modal one."""
        if isinstance(self.screen, MainScreen):
            self.switch_mode(mode)

    async def on_open_version(self, message: messages.OpenVersion) -> None:
        """Show a generator in the registry."""
        await self.switch_mode("registry")
        if isinstance(self.screen, RegistryScreen):
            self.screen.go_to(str(message.number))

    async def on_open_run(self, message: messages.OpenRun) -> None:
        """Show a run, or a launch without a run, in the list of runs."""
        await self.switch_mode("runs")
        if isinstance(self.screen, RunsScreen):
            self.screen.select(message.key)

    async def action_quit(self) -> None:
        """Leave; with a queue, after a question."""
        w = self.workspace
        if not w.queued or w.read_only:
            self.exit()
            return
        count = f"{w.queued} runs are queued" if w.queued > 1 else "1 run is queued"
        detail = (
            f"{count}. They run on without this UI, each when its device is free; the next UI shows them."
        )
        self.ask("Leave?", detail, self.exit)

    def action_reload(self) -> None:
        """Read everything again."""
        say(self, "reading the store again")
        self.read_store(True)

    def action_error(self) -> None:
        """Show the last error in full."""
        self.push_screen(TextScreen("last error", Text(self.failure or "no error so far")))

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Textual's commands, every action of the screen, and versions by name."""
        yield from super().get_system_commands(screen)
        for active in screen.active_bindings.values():
            binding = active.binding
            editing = isinstance(active.node, Input)
            if binding.description and binding.action != "app.command_palette" and not editing:
                name = f"{binding.description}  ({self.get_key_display(binding)})"
                run = partial(self.run_action, binding.action, active.node)
                yield SystemCommand(name, active.tooltip or binding.tooltip, run)
        for version in self.workspace.snapshot.versions.values():
            if version.name == names.GENERATORS:
                show = partial(self.post_message, messages.OpenVersion(version.number))
                yield SystemCommand(clean(version.title, 80), "show the version", show, discover=False)

    def action_help(self) -> None:
        """Show the purpose of the screen and its keys."""
        self.push_screen(HelpScreen(self.screen))

    # ------------------------------------------------------------------ changes

    def _may_change(self) -> bool:
        if self.workspace.read_only:
            say(self, "read-only: start without --read-only to change things", True)
        return not self.workspace.read_only

    def ask(self, question: str, detail: str, action: Callable[[], object]) -> None:
        """Run an action if the user agrees."""

        def answered(yes: bool | None) -> None:
            if yes:
                action()

        self.push_screen(ConfirmScreen(question, detail), answered)

    def on_open_launch(self, message: messages.OpenLaunch) -> None:
        """Open the launch form."""
        if self._may_change():
            self.push_screen(LaunchScreen(self.workspace, message.entry, message.given), self._launch)

    def _launch(self, order: Order | None) -> None:
        if order is None:
            return
        launch = self.workspace.launcher.submit(order.command, order.entry, order.device)
        self._states[launch.key] = "queued"
        self.post_message(messages.OpenRun(launch.key))
        self.read_store()

    def on_cancel(self, message: messages.Cancel) -> None:
        """Cancel a launch after a question."""
        if self._may_change():
            running, launch = message.launch.state == "running", message.launch.launch
            detail = "It is asked to stop, then killed; its run ends as KILLED." if running else ""
            question = f"Cancel {clean(spell(launch.command), 200)}?"
            self.ask(question, detail, partial(self._cancel, launch.key))

    @work(thread=True, group="cancel")
    def _cancel(self, key: str) -> None:
        self.workspace.launcher.cancel(key)
        self.call_later(self.read_store)

    def on_move_in_queue(self, message: messages.MoveInQueue) -> None:
        """Move a queued launch."""
        if self._may_change():
            self.workspace.launcher.move(message.launch.launch.key, message.places)
            self.read_store()

    def on_promote(self, message: messages.Promote) -> None:
        """Make a version the champion if it passes every gate, after a question."""
        from sa_mlops.registry import gates

        version = message.version
        if not self._may_change():
            return
        now = self.workspace.snapshot.aliases.get(names.GENERATORS, {}).get(names.CHAMPION_ALIAS)
        verdicts = gates.judge_version(version, self.workspace.snapshot.metrics_of(version))
        detail = "\n".join(v.brief() for v in verdicts)
        passed = all(v.passed for v in verdicts)
        detail += (
            "\nIt passes every gate." if passed else "\nIt does not pass every gate and will be refused."
        )
        detail += f" v{now} is the champion now." if now else " There is no champion yet."
        question = f"Promote {clean(version.title, 80)}?"
        self.ask(question, detail, lambda: self.command(["promote", str(version.number)]))

    def on_annotate(self, message: messages.Annotate) -> None:
        """Write a note on a version."""
        if self._may_change():
            self._annotate(message.version, message.text)

    @work(thread=True, group="commands")
    def _annotate(self, version: Version, text: str) -> None:
        try:
            self.workspace.store.annotate(version, text)
        except Exception as error:  # deleted, or no store
            self.failure = str(error)
            say(self, f"not written: {clean(error)}", True)
        self.call_later(self.read_store, True)

    def on_delete(self, message: messages.Delete) -> None:
        """Delete a version on which nothing depends, after a question."""
        version, snapshot = message.version, self.workspace.snapshot
        if not self._may_change():
            return
        users = [v for v in snapshot.versions.values() if version.uri in (v.tags.get(key) for key in LINKS)]
        if users or snapshot.aliases_of(version):
            why = f"{len(users)} versions were made with it" if users else "an alias points at it"
            say(self, f"{version.uri} is not deleted: {why}", True)
            return
        question = f"Delete {version.uri} ({clean(version.title, 60)})?"
        self.ask(question, "Its run and its files stay.", lambda: self._delete(version))

    @work(thread=True, group="commands")
    def _delete(self, version: Version) -> None:
        try:
            self.workspace.store.delete(version)
        except Exception as error:  # deleted already, or no store
            self.failure = str(error)
            say(self, f"not deleted: {clean(error)}", True)
        self.call_later(self.read_store, True)

    @work(thread=True, group="commands")
    def command(self, words: list[str]) -> None:
        """Run an `sa-mlops` command in a worker thread and show its answer."""
        folder = self.folder if self.workspace.demo else self.project
        self.call_later(self._ended, words[0], commands.run(words, self.workspace.store.uri, folder))

    def _ended(self, what: str, answer: commands.Answer) -> None:
        if answer.status != 0:
            self.failure = answer.text
            self.push_screen(TextScreen(f"{what}: not done", Text(answer.text or "no output")))
        say(self, answer.headline, answer.status != 0)
        self.read_store(True)

    # ------------------------------------------------------------------ demo

    def action_demo(self) -> None:
        """Open the demo's store, after a question in the place of a store with versions."""
        if not self._may_change():
            return
        if self.workspace.snapshot.versions and not self.workspace.demo:
            detail = (
                "It is shown in place of this store until the next start, and made if it is empty (a minute)."
            )
            self.ask("Open the demo?", detail, self.open_demo)
        else:
            self.open_demo()

    def open_demo(self) -> None:
        """Show the demo's store, and fill it if it is empty."""
        w = self.workspace
        if not w.demo:
            self.folder = demo.demo_folder()
            w.demo, w.store, w.loading = True, Store(demo.demo_uri()), True
            w.launcher = Launcher(self.folder / "runs", self.project, w.store.uri, w.launcher.gpus)
            w.snapshot, w.launches = Snapshot(complete=False), ()
            w.marked.clear()
            self._broadcast(messages.StatusChanged)
            self._broadcast(messages.StoreRead)
            self.read_store(True)
        self.fill_demo()

    @work(thread=True, group="demo", exclusive=True)
    def fill_demo(self) -> None:
        """Make the versions of the demo's store with ordinary commands."""
        store = self.workspace.store
        demo.demo_folder().mkdir(parents=True, exist_ok=True)
        if any(v.stage == "forget" for found in store.read(None) for v in found.versions.values()):
            return
        self.call_later(self._filling, True)
        for words in demo.COMMANDS:
            answer = commands.run(words, store.uri, demo.demo_folder())
            if self._leaving:
                return
            self.call_later(self.read_store)
            if answer.status != 0:
                self.failure = answer.text
                say(self, f"demo: {answer.headline} (e: the full error)", True)
                break
        else:
            say(self, "the demo is ready")
        self.call_later(self._filling, False)

    def _filling(self, filling: bool) -> None:
        self.workspace.filling = filling
        self._broadcast(messages.StoreRead)


LINKS = (names.PARENT, names.FIM, names.JUDGE, names.BASE)
"""Tags of a version that name other versions."""
