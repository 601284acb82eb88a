"""The keys of a screen in its last line."""

from __future__ import annotations

from rich.cells import cell_len
from textual import events
from textual.app import ComposeResult
from textual.widgets import Footer
from textual.widgets._footer import FooterKey


class Keys(Footer):
    """Textual's footer with the first keys that fit, whole."""

    def __init__(self) -> None:
        super().__init__(compact=True, show_command_palette=False)

    def compose(self) -> ComposeResult:
        """A key after the other."""
        room = self.app.size.width
        for key in super().compose():
            assert isinstance(key, FooterKey)
            room -= cell_len(f"{key.key_display} {key.description}")
            if room < 0:
                return
            room -= 1
            yield key

    async def on_resize(self, _event: events.Resize) -> None:
        """Choose again for the new width."""
        await self.recompose()
