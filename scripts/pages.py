"""Write the generated tables of README.md and docs/parameters.md from the configuration and the command line.

`--check` reports pages that are out of date and changes nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path

from sa_mlops.cli import group
from sa_mlops.config import ENTRY_POINTS
from sa_mlops.methods import interface

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "docs/parameters.md")


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    columns = list(header)
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def entry_points() -> str:
    """Every entry point with its help."""
    return table(
        ("entry point", "what it does"), ((f"`{name}`", point.help) for name, point in ENTRY_POINTS.items())
    )


def parameters() -> str:
    """Every parameter once, with the entry points that take it."""
    rows: dict[tuple[str, str, str, str], list[str]] = {}
    for name, point in ENTRY_POINTS.items():
        for key, p in point.config.parameters().items():
            row = (f"`{key}`", p.help, p.allowed, f"`{p.spell(p.default) or '(none)'}`")
            rows.setdefault(row, []).append(name)
    header = ("parameter", "meaning", "allowed", "default", "entry points")
    return table(
        header,
        (
            (*row, "all" if len(users) == len(ENTRY_POINTS) else ", ".join(users))
            for row, users in rows.items()
        ),
    )


def commands() -> str:
    """The commands that are no entry points, with their help."""
    others = {name: c for name, c in group.commands.items() if name not in ENTRY_POINTS and not c.hidden}
    return table(
        ("command", "what it does"),
        ((f"`sa-mlops {name}`", c.get_short_help_str(limit=200)) for name, c in others.items()),
    )


def methods() -> str:
    """Every method of forgetting."""
    rows = []
    for name in interface.known():
        method = interface.named(name)
        needs = [field.name for field in fields(method.needs) if getattr(method.needs, field.name)]
        rows.append((f"`{name}`", method.help, ", ".join(needs) or "none", method.target))
    return table(("method", "what it does", "needs", "target"), rows)


BLOCKS = {
    "entry points": entry_points, "parameters": parameters, "commands": commands, "methods": methods,
}  # fmt: skip


def filled(page: str) -> str:
    """The page with its generated blocks up to date. A page has any of them, between two comments.

    Raises
    ------
    ValueError : if a block has no end.
    """
    for mark, block in BLOCKS.items():
        start, end = f"<!-- {mark} -->", f"<!-- end of {mark} -->"
        if start in page:
            head, _, rest = page.partition(start)
            _, found, tail = rest.partition(end)
            if not found:
                raise ValueError(f"{end} is missing")
            page = f"{head}{start}\n{block()}\n{end}{tail}"
    return page


def main() -> int:
    """Write or check."""
    pages = {ROOT / name: (ROOT / name).read_text(encoding="utf-8") for name in PAGES}
    stale = {path: filled(text) for path, text in pages.items() if filled(text) != text}
    if "--check" not in sys.argv[1:]:
        for path, text in stale.items():
            path.write_text(text, encoding="utf-8")
        return 0
    for path in stale:
        print(f"{path.relative_to(ROOT)} is out of date; run scripts/pages.py", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
