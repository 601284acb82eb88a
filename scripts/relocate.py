"""Let an environment that was moved name its own folder: `VENV/bin/python scripts/relocate.py VENV`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIRECT = re.compile(rb"#!(/[^\n]*/bin/python[0-9.]*)\n")
BY_SHELL = re.compile(rb"#!/bin/sh\n'''exec' \"?(/[^\n]*/bin/python[0-9.]*)\"? \"\$0\" \"\$@\"\n' '''\n")
LONGEST = 127
"""Bytes of a first line that every kernel reads."""


def header(python: bytes) -> bytes:
    """The first lines of a script for this interpreter, as pip writes them."""
    line = b"#!" + python + b"\n"
    if b" " not in python and len(line) <= LONGEST:
        return line
    return b"#!/bin/sh\n'''exec' \"" + python + b'" "$0" "$@"\n' + b"' '''\n"


def main(venv: Path) -> None:
    """Correct the scripts, the activation files and the path of the editable package."""
    python = str(venv / "bin" / "python").encode()
    for path in (venv / "bin").iterdir():
        if path.is_symlink() or not path.is_file():
            continue
        content = path.read_bytes()
        match = DIRECT.match(content) or BY_SHELL.match(content)
        if match is not None and match[1] != python:
            path.write_bytes(header(python) + content[match.end() :])
    for path in venv.glob("lib/python*/site-packages/__editable__.sa_mlops-*.pth"):
        path.write_text(f"{ROOT}\n")
    # Python rewrites the activation files and no other existing file.
    base = sys._base_executable  # type: ignore[attr-defined]
    subprocess.run([base, "-m", "venv", "--without-pip", str(venv)], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
