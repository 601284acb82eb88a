"""The command palette: every key's action of the screen, the other screens, and versions by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, cast

from textual.binding import Binding
from textual.command import DiscoveryHit, Hit, Hits, Provider

from sa_mlops.registry import names
from tui.plain import clean

if TYPE_CHECKING:
    from tui.app import AmnesiaApp

VERSIONS = 30
"""Most versions that one search lists."""


class ProjectCommands(Provider):
    """Actions and versions."""

    @property
    def sa(self) -> AmnesiaApp:
        """The application."""
        return cast("AmnesiaApp", self.app)

    def _actions(self) -> list[tuple[str, str, Callable[[], object]]]:
        """Name, help and what it does."""
        found: list[tuple[str, str, Callable[[], object]]] = []
        for active in self.screen.active_bindings.values():
            binding: Binding = active.binding
            if binding.description and binding.action != "app.command_palette":
                key = self.app.get_key_display(binding)
                run = partial(self.app.run_action, binding.action, active.node)
                found.append((f"{binding.description}  ({key})", active.tooltip or binding.tooltip, run))
        return found

    async def discover(self) -> Hits:
        """What there is before anything is typed."""
        for name, text, run in self._actions():
            yield DiscoveryHit(name, run, help=text or None)

    async def search(self, query: str) -> Hits:
        """What fits."""
        matcher = self.matcher(query)
        for name, text, run in self._actions():
            if (score := matcher.match(name)) > 0:
                yield Hit(score, matcher.highlight(name), run, help=text or None)
        count = 0
        for version in self.sa.update.snapshot.versions.values():
            if version.name != names.GENERATORS:
                continue
            title = clean(version.title, 80)
            if (score := matcher.match(title)) > 0:
                count += 1
                yield Hit(score, matcher.highlight(title), partial(self.sa.open_version, version.number))
                if count >= VERSIONS:
                    return
