"""A choice of one word, in one line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget


class Choice(Widget, can_focus=True):
    """Shows a word with its label; left, right and space turn to the others, a letter to the next with that initial.

    Parameters
    ----------
    words : words and their labels.
    value : the first word; added if it is not among them.
    """

    DEFAULT_CSS = """
    Choice { height: 1; background: $boost; padding: 0 1; }
    Choice:focus { background: $surface-lighten-2; text-style: bold; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "turn(-1)", "before", show=False),
        Binding("right,space,enter", "turn(1)", "next", show=False),
    ]

    value: reactive[str] = reactive("", init=False)

    @dataclass
    class Changed(Message):
        """Another word was chosen."""

        sender: Choice
        value: str

        @property
        def control(self) -> Choice:
            """The widget."""
            return self.sender

    def __init__(
        self,
        words: Sequence[tuple[str, str]],
        value: str,
        *,
        name: str | None = None,
        id: str | None = None,  # noqa: A002  # Textual's own name for it
        classes: str | None = None,
    ) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self.words = list(words)
        if value not in dict(self.words):
            self.words.append((value, value))
        self.set_reactive(Choice.value, value)

    def watch_value(self, value: str) -> None:
        """Report the choice."""
        self.post_message(self.Changed(self, value))

    def action_turn(self, by: int) -> None:
        """Choose the next word."""
        known = [word for word, _ in self.words]
        self.value = known[(known.index(self.value) + by) % len(known)]

    def on_key(self, event: events.Key) -> None:
        """Turn to the next word with an initial."""
        if event.character is None or not event.character.isalnum():
            return
        known = [word for word, _ in self.words]
        at = known.index(self.value)
        for word in known[at + 1 :] + known[: at + 1]:
            if word.lower().startswith(event.character.lower()):
                self.value = word
                event.stop()
                return

    def on_click(self) -> None:
        """Choose the next word."""
        self.action_turn(1)

    def render(self) -> Text:
        """The label between arrows."""
        known = [word for word, _ in self.words]
        label = dict(self.words)[self.value]
        return Text(
            f"◂ {label} ▸  {known.index(self.value) + 1}/{len(known)}", no_wrap=True, overflow="ellipsis"
        )
