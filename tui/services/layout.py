"""Choices that the UI remembers: theme, screen, order, tabs. Failures to read or write them are ignored."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from sa_mlops.files import replacing


@dataclass(slots=True)
class Layout:
    """The remembered choices."""

    theme: str = "textual-dark"
    screen: str = "registry"
    order: str = "lineage"
    tab: str = "samples"
    beside: bool = False
    log_scale: bool = False
    run_order: str = "newest"
    columns: dict[str, list[str]] = field(default_factory=dict)
    """Keys of the chosen columns by list."""

    @classmethod
    def read(cls, path: Path) -> Layout:
        """The choices in a file; defaults for unusable ones."""
        try:
            known: dict[str, Any] = json.loads(path.read_text())
            usual = cls()
            kept = {
                f.name: known[f.name]
                for f in fields(cls)
                if type(known.get(f.name)) is type(getattr(usual, f.name))
            }
            layout = cls(**kept)
            layout.columns = {k: [*map(str, found)] for k, found in layout.columns.items()}
            return layout
        except (OSError, ValueError, TypeError, AttributeError):
            return cls()

    def write(self, path: Path) -> None:
        """Write them, if possible."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as part:
                part.write_text(json.dumps(asdict(self), indent=1) + "\n")
        except OSError:
            return
