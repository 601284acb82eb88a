"""The command palette: the actions of the screen, and versions by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from textual.binding import Binding
from textual.command import DiscoveryHit, Hit, Hits, Provider

from sa_mlops.registry import names
from tui.messages import OpenVersion
from tui.plain import clean
from tui.screens.main import MainScreen

VERSIONS = 30
"""Most versions that one search lists."""


class ProjectCommands(Provider):
    """Actions and versions."""

    def _actions(self) -> list[tuple[str, str, Callable[[], object]]]:
        """Name, help and action."""
        found: list[tuple[str, str, Callable[[], object]]] = []
        for active in self.screen.active_bindings.values():
            binding: Binding = active.binding
            if binding.description and binding.action != "app.command_palette":
                key = self.app.get_key_display(binding)
                run = partial(self.app.run_action, binding.action, active.node)
                found.append((f"{binding.description}  ({key})", active.tooltip or binding.tooltip, run))
        return found

    async def discover(self) -> Hits:
        """Every action, before anything is typed."""
        for name, text, run in self._actions():
            yield DiscoveryHit(name, run, help=text or None)

    async def search(self, query: str) -> Hits:
        """Actions and versions that match."""
        matcher = self.matcher(query)
        for name, text, run in self._actions():
            if (score := matcher.match(name)) > 0:
                yield Hit(score, matcher.highlight(name), run, help=text or None)
        if not isinstance(self.screen, MainScreen):
            return
        count = 0
        for version in self.screen.snapshot.versions.values():
            title = clean(version.title, 80)
            if version.name == names.GENERATORS and (score := matcher.match(title)) > 0:
                count += 1
                show = partial(self.screen.post_message, OpenVersion(version.number))
                yield Hit(score, matcher.highlight(title), show)
                if count >= VERSIONS:
                    return
