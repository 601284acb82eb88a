"""The command line: one subcommand per entry point, made from its config; nothing heavy is imported before it runs."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sa_mlops import __version__, environment
from sa_mlops.cluster.plan import option_words
from sa_mlops.config import ENTRY_POINTS, EntryPoint, SubmitConfig
from sa_mlops.errors import CommandError, Stopped
from sa_mlops.parameters import Parameter, ParameterError

if TYPE_CHECKING:
    from sa_mlops.cluster.jobs import Outcome
    from sa_mlops.stages.result import Result

PROGRAM = "sa-mlops"
DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

GROUPS = ("what", "how", "where")


def option(name: str, parameter: Parameter) -> click.Option:
    """The command-line option of a parameter. Values stay text here; the parameter reads and checks them."""
    default = parameter.spell(parameter.default)
    shown = f"{parameter.help}; {parameter.allowed}"
    # A bare `--fresh` means true, and MLproject can still say `--fresh false`. For other kinds even a None here would
    # make the value optional, and `--ewc-lambda -1` an unknown option `-1`.
    bare: dict[str, Any] = {"flag_value": "true"} if parameter.kind == "bool" else {}
    return click.Option(
        [f"--{name.replace('_', '-')}", name],
        metavar=parameter.kind.upper(),
        default=default,
        show_default=True if default else "none",
        help=shown,
        is_flag=False,
        **bare,
    )


def entry_command(entry: EntryPoint) -> click.Command:
    """The subcommand of an entry point."""
    definitions = entry.config.parameters()

    def callback(as_json: bool, **texts: str) -> Result:
        values: dict[str, Any] = {name: definitions[name].parse(name, text) for name, text in texts.items()}
        config = entry.config(**values)
        stage = importlib.import_module(entry.module)
        result: Result = stage.run(config)
        return _show(result, as_json)

    ordered = sorted(definitions.items(), key=lambda item: GROUPS.index(item[1].group))
    parameters: list[click.Parameter] = [option(name, parameter) for name, parameter in ordered]
    return click.Command(
        entry.name,
        params=[*parameters, _json_option()],
        callback=callback,
        help=entry.help,
        short_help=entry.help,
    )


def _json_option() -> click.Option:
    return click.Option(["--json", "as_json"], is_flag=True, help="print one JSON document")


def _show(result: Result, as_json: bool) -> Result:
    try:
        click.echo(json.dumps(result.document, indent=1) if as_json else result.text)
    except BrokenPipeError:
        # The reader has seen enough; click would make it status 1.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return result


@click.group(
    name=PROGRAM,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    help="Make a conditional VAE forget classes, and show honestly that it has.",
)
@click.version_option(__version__, prog_name=PROGRAM)
def group() -> None:
    """All commands."""


for _entry in ENTRY_POINTS.values():
    group.add_command(entry_command(_entry))


@group.group("submit")
def submission() -> None:
    """Run an entry point as a job of SLURM, alone, as a sweep or with tuning workers."""


def submit_command(entry: EntryPoint) -> click.Command:
    """The subcommand of `submit` for an entry point: its options, and the scheduler's."""
    own, others = entry.config.parameters(), SubmitConfig.parameters()
    words = option_words(entry)

    def callback(as_json: bool, **texts: str) -> int:
        values = {name: own[name].parse(name, texts[word]) for name, word in words.items()}
        ordered: dict[str, Any] = {name: p.parse(name, texts[name]) for name, p in others.items()}
        order = SubmitConfig(**ordered)
        from sa_mlops.cluster import jobs

        return _ended(jobs.submit(entry, values, order), as_json)

    parameters: list[click.Parameter] = [option(name, p) for name, p in others.items()]
    parameters += [option(words[name], p) for name, p in own.items()]
    return click.Command(entry.name, params=[*parameters, _json_option()], callback=callback, help=entry.help)


for _entry in ENTRY_POINTS.values():
    submission.add_command(submit_command(_entry))


def _ended(outcome: Outcome, as_json: bool) -> int:
    _show(outcome.result, as_json)
    return outcome.status


def _json(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--json", "as_json", is_flag=True, help="print one JSON document")(function)


@group.command()
@click.option("--repair", is_flag=True, help="replace missing and altered files, also in DVC's cache")
@_json
def data(repair: bool, as_json: bool) -> Result:
    """Pull the pinned data, verify every file, say what there is."""
    from sa_mlops.operate import look

    return _show(look.data_report(repair), as_json)


@group.command()
@_json
def lineage(as_json: bool) -> Result:
    """Show the tree of registered versions with their tags and metrics."""
    from sa_mlops.operate.tree import lineage_report

    return _show(lineage_report(), as_json)


@group.command()
@click.argument("version", default="latest")
@click.option(
    "--digits", default="0,1,2,3,4,5,6,7,8,9", show_default=True, help="classes to draw, comma-separated"
)
@click.option("--seed", default="0", show_default=True, help="decides the latents")
@click.option("--rows", default="4", show_default=True, help="latents, one a row; 1 to 64")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="PNG to write; without it: the terminal"
)
@click.option(
    "--compare", is_flag=True, help="the same latents through the whole chain from the base to VERSION"
)
@_json
def sample(
    version: str, digits: str, seed: str, rows: str, out: Path | None, compare: bool, as_json: bool
) -> Result:
    """Draw samples of VERSION (a number or an alias) as a PNG or in the terminal."""
    wanted = Parameter(help="", kind="digits", low=0, high=9, default=()).parse("digits", digits)
    number = Parameter(help="", kind="int", low=0, high=2**31 - 1, default=0).parse("seed", seed)
    count = Parameter(help="", kind="int", low=1, high=64, default=4).parse("rows", rows)
    if out is not None and (out.suffix.lower() != ".png" or not out.absolute().parent.is_dir()):
        raise ParameterError("out", str(out), "a .png file in an existing folder")
    from sa_mlops.operate import look

    return _show(look.samples(version, wanted, number, count, out, compare), as_json)  # type: ignore[arg-type]


@group.command()
@click.argument("version")
@click.option(
    "--gates",
    type=click.Path(path_type=Path),
    help="JSON file with limits; without it: the project's targets",
)
@_json
def promote(version: str, gates: Path | None, as_json: bool) -> Result:
    """Make VERSION the champion, if its recorded metrics pass every gate."""
    from sa_mlops.operate.promote import promote as judge_and_promote

    return _show(judge_and_promote(version, gates), as_json)


@group.command()
@click.argument("version", default="latest")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="folder for report.html and report.md"
)
@_json
def report(version: str, out: Path | None, as_json: bool) -> Result:
    """Write the evidence on VERSION (a number, an alias, or a parent run's id) as HTML and Markdown."""
    from sa_mlops.operate.report import report as write

    return _show(write(version, out), as_json)


@group.command()
@click.option("--fix", is_flag=True, help="end runs whose process is gone as KILLED; deletes nothing")
@_json
def doctor(fix: bool, as_json: bool) -> Result:
    """Look for what is wrong: environment, data, store, orphan runs, broken links and files; say what to do."""
    from sa_mlops.operate.doctor import examine

    return _show(examine(fix), as_json)


@group.command()
@click.argument("version")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps")
@_json
def reproduce(version: str, device: str, as_json: bool) -> Result:
    """Rebuild VERSION (a number, an alias, or sa-fim/N) from its recorded settings, data and seed, and compare."""
    from sa_mlops.operate.reproduce import reproduce as rebuild

    return _show(rebuild(version, device), as_json)


@group.command("jobs")
@click.argument("job", required=False)
@click.option("--follow", is_flag=True, help="show what its tasks say until the last one is over")
@click.option("--cancel", is_flag=True, help="cancel what is not over")
@_json
def submitted(job: str | None, follow: bool, cancel: bool, as_json: bool) -> int:
    """List what was submitted from this folder, or JOB alone (its name, SLURM's number, or latest)."""
    if (follow or cancel) and job is None:
        raise click.UsageError("--follow and --cancel need the JOB")
    if follow and cancel:
        raise click.UsageError("give --follow or --cancel, not both")
    from sa_mlops.cluster import jobs

    if job is None:
        return _ended(jobs.listed(), as_json)
    act = jobs.follow if follow else jobs.cancel if cancel else jobs.shown
    return _ended(act(job), as_json)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit status: 0 done, 1 failed, 2 wrong command line, 130 interrupted."""
    try:
        environment.prepare()
        outcome = group.main(
            args=None if arguments is None else list(arguments), prog_name=PROGRAM, standalone_mode=False
        )
    except ParameterError as error:
        return _fail(str(error), USAGE)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return USAGE
    except click.UsageError as error:
        where = f" (see `{error.ctx.command_path} --help`)" if error.ctx is not None else ""
        return _fail(" ".join(error.format_message().split()) + where, USAGE)
    except CommandError as error:
        return _fail(" ".join(str(error).split()), FAILED)
    except (Stopped, KeyboardInterrupt, click.Abort):
        return _fail("interrupted; nothing unfinished was registered", INTERRUPTED)
    if isinstance(outcome, int):
        return outcome
    return DONE if outcome is None or outcome.passed else FAILED


def _fail(message: str, status: int) -> int:
    click.echo(f"{PROGRAM}: {message}", err=True)
    return status
