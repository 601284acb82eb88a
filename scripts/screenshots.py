"""Pictures of the terminal UI for the documentation: `python scripts/screenshots.py FOLDER STORE...`.

A store is a folder with `mlflow.db`. Scenes that no store has (a study, a comparison) are left out. SVG files are
turned into PNG by Chromium.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from textual.pilot import Pilot

from sa_mlops.registry import names
from tui.app import AmnesiaApp
from tui.messages import OpenRun
from tui.services.records import Snapshot

SIZES = ("80x24", "120x36", "160x48")
THEMES = {"dark": "textual-dark", "light": "textual-light"}


def newest(snapshot: Snapshot, entry: str) -> str:
    """Id of the newest finished run of an entry point or stage; empty without one."""
    found = [r for r in snapshot.runs.values() if r.entry == entry and r.status == "FINISHED"]
    return max(found, key=lambda r: r.started).run_id if found else ""


def forgot(snapshot: Snapshot) -> str:
    """Number of the champion, else of the newest version that has forgotten something; empty without one."""
    champion = snapshot.aliases.get(names.GENERATORS, {}).get(names.CHAMPION_ALIAS)
    found = [v.number for v in snapshot.versions.values() if v.stage == "forget"]
    return str(champion or max(found)) if found else ""


SCENES: dict[str, tuple[str, Callable[[Snapshot], str], tuple[str, ...]]] = {
    "browse": ("metrics", forgot, ()),
    "preview": ("samples", forgot, ()),
    "compare": ("metrics", forgot, ("c",)),
    "launch": ("metrics", forgot, ("l",)),
    "promote": ("metrics", forgot, ("p",)),
    "help": ("metrics", forgot, ("question_mark",)),
    "follow": ("metrics", lambda s: newest(s, "forget"), ()),
    "tuning": ("metrics", lambda s: newest(s, "tune"), ("3", "g", "g")),
    "methods": ("metrics", lambda s: newest(s, "compare"), ("enter",)),
}
"""Scene -> tab of the detail, what it needs (a version's number or a run's id), keys."""


async def settle(pilot: Pilot[None]) -> None:
    """Wait until nothing is read, drawn or moved any more."""
    for _ in range(3):
        await pilot.pause(0.3)
        while not all(worker.is_finished for worker in pilot.app.workers):
            await asyncio.sleep(0.05)
    await pilot.pause()


async def take(scene: str, size: str, theme: str, out: Path) -> bool:
    """Draw a scene on the store of the working folder; False if the store does not have it."""
    tab, wanted, keys = SCENES[scene]
    width, height = map(int, size.split("x"))
    with tempfile.TemporaryDirectory() as state:
        app = AmnesiaApp("sqlite:///mlflow.db", state=Path(state))
        app.workspace.layout.tab, app.workspace.layout.theme = tab, THEMES[theme]
        app.animation_level = "none"
        async with app.run_test(size=(width, height)) as pilot:
            while not app.workspace.snapshot.complete:
                await asyncio.sleep(0.05)
            await settle(pilot)
            found = wanted(app.workspace.snapshot)
            if not found:
                return False
            if found.isdecimal() and len(found) < 10:
                await pilot.press("v", *found, "enter")
                narrow = scene in ("browse", "preview") and width < 110
                await pilot.press(*(["enter"] if narrow else []))
            else:
                app.post_message(OpenRun(found))
            await settle(pilot)
            await pilot.press(*keys)
            await settle(pilot)
            out.write_text(app.export_screenshot(title="sa-tui"))
    return True


def to_png(picture: Path) -> None:
    """The same as PNG, by Chromium."""
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', picture.read_text())
    assert box is not None
    width, height = (round(float(number)) for number in box.groups())
    subprocess.run(
        [
            *("chromium", "--headless", "--no-sandbox", "--hide-scrollbars", f"--window-size={width},{height}"),
            *("--default-background-color=00000000", f"--screenshot={picture.with_suffix('.png')}"),
            picture.as_uri(),
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    picture.unlink()


def main() -> int:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("stores", type=Path, nargs="+")
    parser.add_argument("--scenes", default=",".join(SCENES))
    parser.add_argument("--sizes", default=",".join(SIZES))
    parser.add_argument("--themes", default=",".join(THEMES))
    given = parser.parse_args()
    folder, stores = given.folder.resolve(), [store.resolve() for store in given.stores]
    folder.mkdir(parents=True, exist_ok=True)
    for scene in given.scenes.split(","):
        for size in given.sizes.split(","):
            for theme in given.themes.split(","):
                picture = folder / f"{scene}-{size}-{theme}.svg"
                for store in stores:
                    os.chdir(store)
                    if asyncio.run(take(scene, size, theme, picture)):
                        if shutil.which("chromium"):
                            to_png(picture)
                        print(picture.stem)
                        break
    return 0


if __name__ == "__main__":
    sys.exit(main())
