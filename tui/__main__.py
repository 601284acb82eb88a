"""`sa-tui`, also `python -m tui`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sa_mlops import environment
from sa_mlops.errors import CommandError

if TYPE_CHECKING:
    from tui.services.workspace import Graphics

PROGRAM = "sa-tui"
SWITCH_SECONDS = 0.001
"""Longest turn of a worker thread while the UI waits to draw; Python's default is five times as long."""


@click.command(name=PROGRAM, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--tracking-uri", help="MLflow store; else MLFLOW_TRACKING_URI, else sqlite:///mlflow.db here")
@click.option(
    "--read-only", is_flag=True, help="browse and preview only: nothing is launched, changed or written"
)
@click.option(
    "--demo", is_flag=True, help="a small store on scikit-learn's digits, made on first use (a minute)"
)
@click.option(
    "--graphics",
    type=click.Choice(["half", "auto", "kitty", "sixel"]),
    default="half",
    show_default=True,
    help="drawing of pictures: half blocks work everywhere; auto queries the terminal",
)
@click.option("--keys", is_flag=True, help="print the name of every action with its keys, as JSON, and exit")
def command(tracking_uri: str | None, read_only: bool, demo: bool, graphics: Graphics, keys: bool) -> int:
    """Browse versions and lineage, preview samples, launch and follow runs, promote."""
    if keys:
        import tui.app  # noqa: F401  # its screens name their keys
        from tui.screens.keys import known

        click.echo(json.dumps(known(), indent=1))
        return 0
    if demo and tracking_uri:
        raise click.UsageError("--demo has its own store: leave --tracking-uri out")
    if not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        raise click.UsageError("this needs a terminal; `sa-mlops lineage` prints the versions anywhere")
    from tui.services.demo import demo_folder, demo_uri

    uri = environment.absolute(demo_uri() if demo else tracking_uri or os.environ[environment.STORE])
    os.environ[environment.STORE] = uri
    sys.setswitchinterval(SWITCH_SECONDS)
    from tui.app import AmnesiaApp

    if graphics != "half":
        from tui.widgets.canvas import widget_for

        widget_for(graphics)
    state = demo_folder() if demo else None
    if state is not None and not read_only:
        state.mkdir(parents=True, exist_ok=True)
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    keymap = config / "sa-mlops" / "keys.json"
    AmnesiaApp(uri, read_only=read_only, demo=demo, state=state, graphics=graphics, keymap=keymap).run()
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the UI; exit status 2 if the command line is wrong."""
    try:
        environment.prepare()
        words = None if arguments is None else list(arguments)
        status = command.main(args=words, prog_name=PROGRAM, standalone_mode=False)
    except click.UsageError as error:
        click.echo(f"{PROGRAM}: {' '.join(error.format_message().split())}", err=True)
        return 2
    except CommandError as error:
        click.echo(f"{PROGRAM}: {error}", err=True)
        return 1
    except (KeyboardInterrupt, click.Abort):
        return 130
    return int(status or 0)


if __name__ == "__main__":
    sys.exit(main())
