"""The application: it reads the store, keeps the runs going, and lends both to its screens."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from rich.text import Text
from textual import work
from textual.app import App
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.signal import Signal

from sa_mlops.registry import names
from tui.commands import ProjectCommands
from tui.messages import Update
from tui.plain import clean
from tui.screens.base import MainScreen
from tui.screens.confirm import ConfirmScreen
from tui.screens.launch import LaunchScreen, Order
from tui.screens.registry import RegistryScreen
from tui.screens.runs import RunsScreen
from tui.screens.text import TextScreen
from tui.screens.tuning import TuningScreen
from tui.services import commands, demo
from tui.services.devices import Device, devices, slurm
from tui.services.fates import marked
from tui.services.launcher import SLURM, Launcher, Seen, reap, spell
from tui.services.layout import Layout
from tui.services.records import Snapshot
from tui.services.sampler import Sampler
from tui.services.store import Store
from tui.widgets.canvas import Graphics
from tui.widgets.status import State

if TYPE_CHECKING:
    from sa_mlops.registry.version import Version

POLL_SECONDS = 2.0
DEVICE_SECONDS = 5.0
STATE_FOLDER = ".sa-mlops"
PROJECT_FILE = "MLproject"

T = TypeVar("T")


def find_project() -> Path:
    """The folder with MLproject: this one, else the one that the package lies in."""
    here = Path.cwd()
    packaged = Path(__file__).resolve().parents[1]
    return here if (here / PROJECT_FILE).is_file() else packaged


class AmnesiaApp(App[None]):
    """Browse versions and lineage, preview samples, launch and follow runs, promote.

    Parameters
    ----------
    uri : tracking store.
    read_only : no launch, no cancel, no promotion, no deletion.
    demo : the store is the built-in demo, which `d` fills.
    state : folder for records of runs and the remembered layout; `.sa-mlops` in the project without one.
    graphics : how pictures are drawn.
    """

    TITLE = "sa-mlops"
    CSS_PATH = "app.tcss"
    MODES: ClassVar[dict[str, str | Callable[[], Screen[Any]]]] = {
        "registry": RegistryScreen,
        "runs": RunsScreen,
        "tuning": TuningScreen,
    }
    DEFAULT_MODE = "registry"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]  # noqa: RUF012  # annotated in the base class
    COMMANDS: ClassVar[set[Any]] = App.COMMANDS | {ProjectCommands}
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("1", "show('registry')", "Registry", show=False),
        Binding("2", "show('runs')", "Runs", show=False),
        Binding("3", "show('tuning')", "Tuning", show=False),
        Binding("r", "reload", "read again", show=False, tooltip="read the whole store again"),
        Binding("e", "error", "error", show=False, tooltip="the full text of the last error"),
        Binding("d", "demo", "demo", show=False, tooltip="open the built-in demo store"),
        Binding("question_mark", "help", "help", key_display="?"),
        Binding("q", "quit", "quit"),
    ]

    def __init__(
        self,
        uri: str,
        *,
        read_only: bool = False,
        demo: bool = False,
        state: Path | None = None,
        graphics: Graphics = "half",
    ) -> None:
        super().__init__()
        self.project = find_project()
        self.folder = state or self.project / STATE_FOLDER
        self.layout = Layout.read(self.folder / "tui.json")
        self.read_only = read_only
        self.graphics = graphics
        self.slurm = slurm()
        self.demo = demo
        self.store = Store(uri)
        self.launcher = Launcher(self.folder / "runs", self.project, uri)
        self.sampler = Sampler()
        self.update = Update(Snapshot(complete=False), ())
        self.state = State(uri=uri, read_only=read_only, demo=demo)
        self.marked: set[str] = set()
        self.failure = ""
        self.changed: Signal[Update] = Signal(self, "changed")
        self.told: Signal[None] = Signal(self, "told")
        self._reading = threading.Lock()
        self._measuring = threading.Lock()
        self._states: dict[str, str] = {}
        self._leaving = False

    def on_mount(self) -> None:
        """Paint first, read then."""
        if self.layout.theme in self.available_themes:
            self.theme = self.layout.theme
        self.call_after_refresh(self.poll, True)
        self.set_interval(POLL_SECONDS, self.poll)
        self.set_interval(DEVICE_SECONDS, self.read_devices)
        if self.layout.screen in self.MODES:
            self.switch_mode(self.layout.screen)

    def on_unmount(self) -> None:
        """Remember the layout; end what would keep the process alive. Runs go on."""
        self._leaving = True
        self.layout.theme = self.theme
        self.layout.screen = self.current_mode if self.current_mode in self.MODES else self.DEFAULT_MODE
        self.layout.write(self.folder / "tui.json")
        self.sampler.close()
        commands.stop_all()

    # ------------------------------------------------------------------ talking

    def tell(self, callback: Callable[..., Any], *values: Any) -> None:
        """Call something in the UI's thread from a worker thread; nothing if the UI is going away."""
        if self._leaving:
            return
        try:
            self.call_from_thread(callback, *values)
        except RuntimeError:
            if self.is_running:
                raise

    def say(self, message: str, bad: bool = False) -> None:
        """A toast."""
        self.notify(clean(message, 300), severity="warning" if bad else "information", markup=False)

    def copy(self, text: str) -> None:
        """Copy a text, and show it for terminals that have no clipboard."""
        try:
            self.copy_to_clipboard(text)
        except Exception as error:  # whatever a terminal driver raises: copying is never worth a crash
            self.failure = str(error)
        self.say(f"copied: {text}")

    def _tell_state(self, **values: Any) -> None:
        self.state = replace(self.state, **values)
        self.told.publish(None)

    # ------------------------------------------------------------------ reading

    def poll(self, whole: bool = False) -> None:
        """Read what is new, unless that is going on."""
        self.read_store(whole)

    @work(thread=True, group="store")
    def read_store(self, whole: bool = False) -> None:
        """Read the store and the records of runs in a worker thread; old data stays if that fails."""
        if not self._reading.acquire(blocking=False):
            return
        store = self.store
        try:
            launches = self._tend()
            old = self.update.snapshot if self.update.snapshot.complete else None
            news = store.changed()
            if whole or news or self.state.stale or not self.update.snapshot.complete:
                for snapshot in store.read(old, whole=whole):
                    self.tell(self._read, store, marked(snapshot), launches)
                    if self._leaving or store is not self.store:
                        return
            else:
                known = self.update.snapshot
                snapshot = marked(known)
                if launches != self.update.launches or snapshot is not known:
                    self.tell(self._read, store, snapshot, launches)
        except Exception as error:  # whatever a store raises: what is known stays and is marked
            store.forget_stamp()
            self.tell(self._stale, f"{type(error).__name__}: {error}")
        finally:
            self._reading.release()

    def _tend(self) -> tuple[Seen, ...]:
        """Start, push and look at the runs that were launched from here. In a worker thread."""
        reap()
        if not self.read_only:
            self.launcher.press()
            self.launcher.tick()
        launches = tuple(self.launcher.launches())
        for seen in launches:
            before = self._states.get(seen.launch.key)
            self._states[seen.launch.key] = seen.state
            if before in ("queued", "running") and seen.state not in ("queued", "running"):
                if seen.state == "cancelled" and seen.run_id:
                    self.store.end_killed(seen.run_id)
                self.tell(self.say, f"{seen.launch.entry}: {seen.state}", seen.state in ("failed", "lost"))
        return launches

    def _read(self, store: Store, snapshot: Snapshot, launches: tuple[Seen, ...]) -> None:
        if store is not self.store:
            return
        self.update = Update(snapshot, launches)
        queued = sum(s.state == "queued" for s in launches)
        top = [r for r in snapshot.runs.values() if r.active and r.parent not in snapshot.runs]
        known = {r.run_id for r in top}
        # A job of the cluster may still wait there, and its runs are counted by themselves.
        starting = sum(
            s.state == "running" and s.launch.slot != SLURM and s.run_id not in known for s in launches
        )
        self._tell_state(stale="", loading=not snapshot.complete, running=len(top) + starting, queued=queued)
        self.changed.publish(self.update)

    def _stale(self, message: str) -> None:
        self.failure = message
        self._tell_state(stale=" ".join(message.split()), loading=False)

    @work(thread=True, group="devices")
    def read_devices(self) -> None:
        """Read the devices' load in a worker thread."""
        if not self._measuring.acquire(blocking=False):
            return
        try:
            found = tuple(devices())
        finally:
            self._measuring.release()
        self.tell(self._devices, found)

    def _devices(self, found: tuple[Device, ...]) -> None:
        self.launcher.gpus = [d.word for d in found if d.word.startswith("cuda:")]
        if found != self.state.devices:
            self._tell_state(devices=found)

    # ------------------------------------------------------------------ going places

    def action_show(self, mode: str) -> None:
        """Show another screen; with a modal open the keys belong to that."""
        if isinstance(self.screen, MainScreen):
            self.switch_mode(mode)

    def open_version(self, number: int) -> None:
        """Show a generator in the registry."""
        self.switch_mode("registry")
        self.call_later(self._open_version, number)

    def _open_version(self, number: int) -> None:
        if isinstance(self.screen, RegistryScreen):
            self.screen.go_to(str(number))

    def open_run(self, run_id: str) -> None:
        """Show a run in the list of runs."""
        self.switch_mode("runs")
        self.call_later(self._open_run, run_id)

    def _open_run(self, run_id: str) -> None:
        if isinstance(self.screen, RunsScreen):
            self.screen.select(run_id)

    def action_reload(self) -> None:
        """Read everything again."""
        self.say("reading the store again")
        self.poll(True)

    def action_error(self) -> None:
        """Show the last error in full."""
        self.push_screen(TextScreen("last error", Text(self.failure or "no error so far")))

    def action_help(self) -> None:
        """Show what the screen is for and every key of it."""
        text = Text()
        if isinstance(self.screen, MainScreen):
            text.append(self.screen.HELP_TEXT + "\n\n")
        text.append("1 registry   2 runs   3 tuning   ^p every command by name\n\n", style="bold")
        for active in self.screen.active_bindings.values():
            binding = active.binding
            if binding.description and not binding.action.startswith("show("):
                text.append(f"{self.get_key_display(binding):>10}  ", style="bold")
                text.append(f"{binding.tooltip or binding.description}\n")
        self.push_screen(TextScreen("help", text))

    # ------------------------------------------------------------------ changing things

    def _may_change(self) -> bool:
        if self.read_only:
            self.say("read-only: start without --read-only to change things", True)
        return not self.read_only

    def ask(self, question: str, detail: str, action: Callable[[], object]) -> None:
        """Do something if the user says yes."""

        def answered(yes: bool | None) -> None:
            if yes:
                action()

        self.push_screen(ConfirmScreen(question, detail), answered)

    def open_launch(self, entry: str, given: Mapping[str, str]) -> None:
        """Open the launch form."""
        if self._may_change():
            self.push_screen(LaunchScreen(entry, given), self._launch)

    def _launch(self, order: Order | None) -> None:
        if order is None:
            return
        launch = self.launcher.submit(order.command, order.entry, order.device)
        self._states[launch.key] = "queued"
        self.open_run(launch.key)
        self.poll()

    def cancel(self, seen: Seen) -> None:
        """Cancel a launch, after a question."""
        if self._may_change():
            running = seen.state == "running"
            detail = "It is asked to stop, then made to; its run ends as KILLED." if running else ""
            question = f"Cancel {clean(spell(seen.launch.command), 200)}?"
            self.ask(question, detail, lambda: self._cancel(seen.launch.key))

    @work(thread=True, group="cancel")
    def _cancel(self, key: str) -> None:
        self.launcher.cancel(key)
        self.tell(self.poll)

    def move(self, seen: Seen, places: int) -> None:
        """Move a waiting launch in the queue."""
        if self._may_change():
            self.launcher.move(seen.launch.key, places)
            self.poll()

    def promote(self, version: Version) -> None:
        """Make a version the champion if it passes every gate, after a question."""
        if not self._may_change():
            return
        now = self.update.snapshot.aliases.get(names.GENERATORS, {}).get(names.CHAMPION_ALIAS)
        detail = "It becomes @champion only if its recorded metrics pass every gate."
        detail += f" v{now} is the champion now." if now else " There is no champion yet."
        question = f"Promote {clean(version.title, 80)}?"
        self.ask(question, detail, lambda: self.command(["promote", str(version.number)]))

    def delete(self, version: Version) -> None:
        """Delete a version that nothing hangs on, after a question."""
        if not self._may_change():
            return
        snapshot = self.update.snapshot
        users = [v for v in snapshot.versions.values() if version.uri in (v.tags.get(key) for key in LINKS)]
        if users or snapshot.aliases_of(version):
            why = f"{len(users)} versions were made with it" if users else "an alias points at it"
            self.say(f"{version.uri} stays: {why}", True)
            return
        question = f"Delete {version.uri} ({clean(version.title, 60)})?"
        self.ask(question, "Its run and its files stay.", lambda: self._delete(version))

    @work(thread=True, group="commands")
    def _delete(self, version: Version) -> None:
        try:
            self.store.delete(version)
        except Exception as error:  # gone already, or the store is away
            self.failure = str(error)
            self.tell(self.say, f"not deleted: {clean(error)}", True)
        self.tell(self.poll, True)

    @work(thread=True, group="commands")
    def command(self, words: list[str]) -> None:
        """Run an `sa-mlops` command in a worker thread and say how it went."""
        outcome = commands.run(words, self.store.uri, self.folder if self.demo else self.project)
        self.tell(self._ended, words[0], outcome)

    def _ended(self, what: str, outcome: commands.Outcome) -> None:
        if outcome.status != 0:
            self.failure = outcome.text
            self.push_screen(TextScreen(f"{what}: not done", Text(outcome.text or "no output")))
        self.say(outcome.headline, outcome.status != 0)
        self.poll(True)

    # ------------------------------------------------------------------ demo

    def action_demo(self) -> None:
        """Open the demo's store, and fill it if it is empty."""
        if not self._may_change():
            return
        if not self.demo:
            self.demo = True
            self.folder = demo.demo_folder()
            self.store = Store(demo.demo_uri())
            self.launcher = Launcher(self.folder / "runs", self.project, self.store.uri, self.launcher.gpus)
            self.marked.clear()
            self.update = Update(Snapshot(complete=False), ())
            self._tell_state(uri=self.store.uri, demo=True, loading=True)
            self.changed.publish(self.update)
        self.fill_demo()

    @work(thread=True, group="demo", exclusive=True)
    def fill_demo(self) -> None:
        """Make what the demo's store lacks, by commands that a user would type."""
        store = self.store
        if any(snapshot.versions for snapshot in store.read(None)):
            self.tell(self.poll, True)
            return
        self.tell(self.say, "making the demo: judges, a base and two steps of forgetting, about a minute")
        for words in demo.COMMANDS:
            outcome = commands.run(words, store.uri, demo.demo_folder())
            if self._leaving:
                return
            self.tell(self.poll)
            if outcome.status != 0:
                self.failure = outcome.text
                self.tell(self.say, f"demo: {outcome.headline} (e: all of it)", True)
                return
        self.tell(self.say, "the demo is ready")


LINKS = (names.PARENT, names.FIM, names.JUDGE, names.BASE)
"""Tags through which a version leans on another."""
