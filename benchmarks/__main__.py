"""`python -m benchmarks`, also `make bench`: measure, print, and write RESULTS.md, results.json and growth.png."""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click

from benchmarks.budget import BUDGETS, Mode
from benchmarks.sections import SECTIONS
from sa_mlops import environment
from sa_mlops.errors import CommandError

HERE = Path(__file__).resolve().parent
ELSEWHERE = HERE.parent / "build" / "benchmarks"
FIGURE = "growth.png"
DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


def _keys(_context: click.Context, _parameter: click.Parameter, text: str) -> tuple[str, ...]:
    wanted = [word.strip().lower() for word in text.split(",")]
    for word in wanted:
        if word not in SECTIONS:
            raise click.BadParameter(f"{word!r} is none of {','.join(SECTIONS)}")
    return tuple(key for key in SECTIONS if key in wanted)


@click.command(name="python -m benchmarks", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", "mode", flag_value="quick", help="five minutes: checks that everything runs")
@click.option("--smoke", "mode", flag_value="smoke", help="seconds: the same with almost no work")
@click.option(
    "--only",
    default=",".join(SECTIONS),
    callback=_keys,
    help="sections, comma-separated: " + ", ".join(f"{key} {name}" for key, name in SECTIONS.items()),
)
@click.option("--gpu", is_flag=True, help="on CUDA where there is a device")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="folder for the results; without it benchmarks/, and build/benchmarks/ for --quick, --smoke and --only",
)
def command(mode: Mode | None, only: tuple[str, ...], gpu: bool, out: Path | None) -> int:
    """Measure side by side against the reference recipe. Without --quick or --smoke: the full mode, over an hour."""
    # Before anything imports MLflow or DVC: neither may phone home.
    environment.prepare()
    partial = mode is not None or len(only) < len(SECTIONS)
    folder = out or (ELSEWHERE if partial else HERE)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.BadParameter(f"{folder} cannot be made ({error.strerror})", param_hint="--out") from None
    _measure(mode or "full", only, gpu, folder)
    return DONE


def _measure(mode: Mode, keys: tuple[str, ...], gpu: bool, folder: Path) -> None:
    import torch

    from benchmarks import results
    from benchmarks.bench import Bench, say
    from benchmarks.sections import growth
    from sa_mlops.core.runtime import prepare

    device = torch.device("cuda:0" if gpu and torch.cuda.is_available() else "cpu")
    if gpu and device.type == "cpu":
        say("no CUDA device here; on the CPU")
    prepare(device)
    load = os.getloadavg()[0]
    machine = results.this_machine(device)
    bench = Bench(BUDGETS[mode], device)
    start = time.perf_counter()
    sections: list[results.Section] = []
    for key in keys:
        print(f"{key}. {SECTIONS[key]}", file=sys.stderr, flush=True)
        began = time.perf_counter()
        section: results.Section = importlib.import_module(f"benchmarks.sections.{SECTIONS[key]}").run(bench)
        sections.append(section)
        say(f"done in {time.perf_counter() - began:.0f} s")
        figure = None
        if section.series:
            growth.draw(section, folder / FIGURE)
        if any(s.series for s in sections):
            figure = FIGURE
        # After every section, so that a run that is cut off leaves what it has measured.
        done = results.document(mode, machine, sections, time.perf_counter() - start, load)
        results.write(done, sections, folder, figure)
    print((folder / "RESULTS.md").read_text(encoding="utf-8"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 failed, 2 wrong command line, 130 interrupted."""
    try:
        words = None if arguments is None else list(arguments)
        return int(command.main(args=words, prog_name="python -m benchmarks", standalone_mode=False) or DONE)
    except click.UsageError as error:
        return _fail(" ".join(error.format_message().split()), USAGE)
    except CommandError as error:
        return _fail(" ".join(str(error).split()), FAILED)
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted; finished sections are written", INTERRUPTED)


def _fail(message: str, status: int) -> int:
    click.echo(f"benchmarks: {message}", err=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
