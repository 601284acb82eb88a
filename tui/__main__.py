"""`sa-tui`, also `python -m tui`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

PROGRAM = "sa-tui"


@click.command(name=PROGRAM, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--tracking-uri", help="MLflow store; else MLFLOW_TRACKING_URI, else sqlite:///mlflow.db here")
@click.option("--read-only", is_flag=True, help="browse and preview only: no launch, no promotion")
@click.option(
    "--demo", is_flag=True, help="a small store on scikit-learn's digits, made on first use (a minute)"
)
def command(tracking_uri: str | None, read_only: bool, demo: bool) -> int:
    """Browse versions and lineage, preview samples, launch and follow runs, promote."""
    if demo and tracking_uri:
        raise click.UsageError("--demo has a store of its own: leave --tracking-uri out")
    from tui.services.demo import demo_uri

    if demo:
        os.environ["MLFLOW_TRACKING_URI"] = demo_uri()
    elif tracking_uri:
        os.environ["MLFLOW_TRACKING_URI"] = tracking_uri
    os.environ.setdefault("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    from tui.app import AmnesiaApp

    AmnesiaApp(os.environ["MLFLOW_TRACKING_URI"], read_only=read_only, demo=demo).run()
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the UI; exit status 2 if the command line is wrong."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    try:
        words = None if arguments is None else list(arguments)
        status = command.main(args=words, prog_name=PROGRAM, standalone_mode=False)
    except click.UsageError as error:
        click.echo(f"{PROGRAM}: {' '.join(error.format_message().split())}", err=True)
        return 2
    except (KeyboardInterrupt, click.Abort):
        return 130
    return int(status or 0)


if __name__ == "__main__":
    sys.exit(main())
