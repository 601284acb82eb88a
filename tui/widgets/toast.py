"""Short messages over the screen."""

from __future__ import annotations

from typing import Any

from textual.app import App
from textual.widget import Widget

from sa_mlops.registry.version import Version
from tui.plain import clean
from tui.services import pages
from tui.services.records import Run
from tui.services.store import Store


def say(node: App[Any] | Widget, text: str, bad: bool = False) -> None:
    """Show a text, as a warning if it is bad; from any thread."""
    node.notify(clean(text, 300), severity="warning" if bad else "information", markup=False)


def copy_page(node: Widget, store: Store, *, version: Version | None = None, run: Run | None = None) -> None:
    """Copy the address of MLflow's page, on the server of this machine that shows the store."""
    local = store.database is not None
    root = pages.server_of(store.uri) if local else ""
    copy(node, pages.page_url(store.uri, version=version, run=run, root=root))
    if local and not root:
        say(node, "no MLflow server shows this store now: `make ui` starts one on port 5000", bad=True)


def copy(node: Widget, text: str) -> None:
    """Copy a text, and show it for terminals without a clipboard."""
    try:
        node.app.copy_to_clipboard(text)
    except Exception as error:  # a terminal driver raises anything: no reason to crash
        say(node, f"no clipboard: {error}", bad=True)
    say(node, f"copied: {text}")
