"""The command line: a subcommand per entry point, made from its config. Nothing heavy is imported before one runs."""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from sa_mlops import __version__, environment
from sa_mlops.cluster.plan import option_words
from sa_mlops.config import ALIASES, ENTRY_POINTS, EntryPoint, SubmitConfig
from sa_mlops.datasets.spec import SIDE_RANGE
from sa_mlops.errors import CommandError, Stopped, comes_from_outside, in_one_line, plain
from sa_mlops.parameters import Kind, Parameter, ParameterError, Value, spell_option
from sa_mlops.settings import SEED

if TYPE_CHECKING:
    from sa_mlops.cluster.jobs import Outcome
    from sa_mlops.stages.result import Result

PROGRAM = "sa-mlops"
DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

GROUPS = ("what", "how", "where")
PROJECT = "project"
"""Hidden flag of the commands in MLproject, which pass every option: a default value then counts as not given."""


def option(name: str, parameter: Parameter) -> click.Option:
    """The command-line option of a parameter. Values stay text here; the parameter reads and checks them."""
    default = parameter.spell(parameter.default)
    # A bare `--fresh` means true, and MLproject can still say `--fresh false`. For other kinds even a None here would
    # make the value optional, and `--ewc-lambda -1` an unknown option `-1`.
    bare: dict[str, Any] = {"flag_value": "true"} if parameter.kind == "bool" else {}
    return click.Option(
        [spell_option(name), name],
        metavar=parameter.kind.upper(),
        default=default,
        show_default=True if default else "none",
        help=parameter.help if parameter.kind == "text" else f"{parameter.help}; {parameter.allowed}",
        is_flag=False,
        **bare,
    )


def old_options(names: Collection[str]) -> list[click.Parameter]:
    """Hidden options: the old names of parameters, and the mark of MLproject's commands."""
    old = [click.Option([spell_option(k), k], hidden=True) for k, name in ALIASES.items() if name in names]
    return [*old, click.Option([f"--{PROJECT}", PROJECT], is_flag=True, hidden=True)]


def given_options(
    definitions: Mapping[str, Parameter], texts: Mapping[str, str], words: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Values of the parameters that were given, under their present names.

    Raises ParameterError for a value that is not allowed, or given under both its names.

    Parameters
    ----------
    texts : every option's text, by its word.
    words : parameter -> its option's word, where the two may differ.
    """
    context = click.get_current_context()

    def given(word: str) -> bool:
        return context.get_parameter_source(word) is ParameterSource.COMMANDLINE

    values = {}
    for name, parameter in definitions.items():
        word = words[name] if words else name
        if given(word):
            value = parameter.parse(name, texts[word])
            if value != parameter.default or not texts[PROJECT]:
                values[name] = value
    old = {k: name for k, name in ALIASES.items() if name in definitions and given(k) and texts[k]}
    for word, name in old.items():
        if name in values:
            allowed = f"it without {spell_option(word)}"
            raise ParameterError(name, definitions[name].spell(values[name]), allowed)
    for word, name in old.items():
        say(f"{spell_option(word)} is now {spell_option(name)}")
        values[name] = definitions[name].parse(name, texts[word])
    return values


def entry_command(entry: EntryPoint, alias: str = "") -> click.Command:
    """The subcommand of an entry point, or its hidden twin under an old name."""
    definitions = entry.config.parameters()

    def callback(as_json: bool, **texts: str) -> Result:
        if alias:
            say(f"{alias} is now {entry.name}")
        config = entry.config(**given_options(definitions, texts))
        result: Result = importlib.import_module(entry.module).run(config)
        return _show(result, as_json)

    ordered = sorted(definitions.items(), key=lambda item: GROUPS.index(item[1].group))
    parameters: list[click.Parameter] = [option(name, parameter) for name, parameter in ordered]
    return click.Command(
        alias or entry.name,
        params=[*parameters, *old_options(definitions), _json_option()],
        callback=callback,
        help=_sentence(entry.help),
        hidden=bool(alias),
    )


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."


def _json_option() -> click.Option:
    return click.Option(["--json", "as_json"], is_flag=True, help="print one JSON document")


def _show(result: Result, as_json: bool) -> Result:
    text = result.json() if as_json else result.text
    try:
        click.echo(text, color=True)  # only pictures have colours, which pagers and files need too
    except BrokenPipeError:
        # The reader has closed the pipe; click would make it status 1.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        raise CommandError(f"standard output cannot be written ({error.strerror})") from None
    return result


@click.group(
    name=PROGRAM,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    help="Verifiable machine unlearning for conditional image generators.",
)
@click.version_option(__version__, prog_name=PROGRAM)
def group() -> None:
    """All commands."""


for _entry in ENTRY_POINTS.values():
    group.add_command(entry_command(_entry))
    if _entry.alias:
        group.add_command(entry_command(_entry, _entry.alias))


@group.group("submit")
def submission() -> None:
    """Run an entry point as a SLURM job.

    A job is one task, a sweep, or several tuning workers.
    """


def submit_command(entry: EntryPoint) -> click.Command:
    """The subcommand of `submit` for an entry point: its options, and the scheduler's."""
    own, others = entry.config.parameters(), SubmitConfig.parameters()
    words = option_words(entry)

    def callback(as_json: bool, **texts: str) -> int:
        values = given_options(own, texts, words)
        order = SubmitConfig.read({name: texts[name] for name in others})
        from sa_mlops.cluster import jobs

        return _ended(jobs.submit(entry, values, order), as_json)

    parameters: list[click.Parameter] = [option(name, p) for name, p in others.items()]
    parameters += [option(words[name], p) for name, p in own.items()]
    parameters += [*old_options(own), _json_option()]
    return click.Command(entry.name, params=parameters, callback=callback, help=_sentence(entry.help))


for _entry in ENTRY_POINTS.values():
    submission.add_command(submit_command(_entry))


def _ended(outcome: Outcome, as_json: bool) -> int:
    result, status = outcome
    _show(result, as_json)
    return status


PATH = click.Path(path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
JSON = click.option("--json", "as_json", is_flag=True, help="print one JSON document")
GATES = click.option("--gates", type=PATH, help="JSON file with limits; default: the project's own")
DATASET = click.option("--dataset", help="versions of this data set alone; default: all")


def checked(name: str, doc: str, kind: Kind, default: Value = None, **bounds: Any) -> Callable[..., Any]:
    """A click decorator for an option that is read and checked as a parameter is; without a default it is `auto`."""
    parameter = Parameter(help=doc, kind=kind, default=default, **bounds)
    return click.option(
        spell_option(name), name, default=parameter.spell(default), show_default=True, help=doc,
        callback=lambda _context, _option, text: parameter.parse(name, text),
    )  # fmt: skip


def _classes(_context: click.Context, _option: click.Parameter, text: str | None) -> Value:
    return None if text is None else Parameter(help="", kind="classes", default=()).parse("classes", text)


HELD = click.option(
    "--classes", required=True, callback=_classes, help="names of classes as the versions record them, comma-separated"
)  # fmt: skip


def printed(function: Callable[..., Result | Outcome]) -> Callable[..., Result | int]:
    """Give a command the option `--json`, and print its result."""

    @JSON
    @functools.wraps(function)
    def command(*, as_json: bool, **options: Any) -> Result | int:
        found = function(**options)
        return _ended(found, as_json) if isinstance(found, tuple) else _show(found, as_json)

    return command


@group.group(invoke_without_command=True)
@click.option("--repair", is_flag=True, help="replace missing and altered files, also in DVC's cache")
@JSON
@click.pass_context
def data(context: click.Context, repair: bool, as_json: bool) -> Result | None:
    """Verify and list MNIST; manage data sets of your own.

    Missing files of MNIST are pulled first.
    """
    if context.invoked_subcommand is not None:
        if repair or as_json:
            raise click.UsageError(f"--repair and --json before {context.invoked_subcommand} have no meaning")
        return None
    from sa_mlops.operate.data import report

    return _show(report(repair), as_json)


@data.command("add")
@click.argument("source")
@click.option("--name", required=True, help="word for --dataset")
@checked(
    "size",
    "pixels a side; auto keeps equal sides up to 64, else 32",
    "int",
    low=SIDE_RANGE[0],
    high=SIDE_RANGE[1],
)
@click.option(
    "--colour", type=click.Choice(["grey", "rgb"]), help="convert the images; default: theirs, if they agree"
)
@checked(
    "test_share", "share of each class that tests, if SOURCE has no split", "float", 0.1, above=0, high=0.5
)
@checked("seed", "random seed of that split", "int", 0, low=SEED[0], high=SEED[1])
@click.option("--classes", help="names of the classes of IDX files or an .npz, in the order of the labels")
@click.option("--licence", default="", help="licence of the images, recorded with them")
@printed
def data_add(
    source: str, name: str, size: int | None, colour: str | None, test_share: float, seed: int, classes: str | None,
    licence: str,
) -> Result:  # fmt: skip
    """Import labelled images as datasets/NAME and pin them.

    SOURCE is a folder with a folder of images per class (with train/ and test/ above them or without), IDX files, an
    .npz with x_train and y_train, or torchvision:NAME, which downloads.
    """
    from sa_mlops.datasets.sources import Form, SourceError
    from sa_mlops.operate import collection

    names = None if classes is None else tuple(word.strip() for word in classes.split(","))
    form = Form(size, None if colour is None else 1 if colour == "grey" else 3, names)
    try:
        return collection.add(source, name, form, test_share, seed, licence)
    except SourceError as error:
        raise click.UsageError(str(error)) from None


@data.command("list")
@printed
def data_list() -> Result:
    """List all data sets and their pins."""
    from sa_mlops.operate import collection

    return collection.listed()


@data.command("show")
@click.argument("name")
@click.option("--out", type=FILE, help="PNG file; default: the terminal")
@printed
def data_show(name: str, out: Path | None) -> Result:
    """Show the counts per class, the pin and the first images of a data set."""
    _check_png(out)
    from sa_mlops.operate import collection

    return collection.show(name, out)


@data.command("remove")
@click.argument("name")
@click.option("--yes", is_flag=True, help="do not ask")
@printed
def data_remove(name: str, yes: bool) -> Result:
    """Remove the images and the pin of a data set that was added."""
    from sa_mlops.operate import collection

    collection.removable(name)
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("give --yes: there is no terminal to ask at")
        click.confirm(f"remove the data set {name} from this checkout?", abort=True, err=True)
    return collection.remove(name)


def _check_png(out: Path | None) -> None:
    if out is not None and (out.suffix.lower() != ".png" or not out.absolute().parent.is_dir()):
        raise ParameterError("out", str(out), "a .png file in an existing folder")


@group.command()
@printed
def lineage() -> Result:
    """Show the tree of versions with their tags and metrics."""
    from sa_mlops.operate.tree import lineage_report

    return lineage_report(whole=click.get_current_context().params["as_json"])


@group.command()
@HELD
@DATASET
@printed
def audit(classes: tuple[str, ...], dataset: str | None) -> Result:
    """List the versions and runs that hold a class.

    They hold it by training or by descent; their aliases are listed too. Changes nothing.
    """
    from sa_mlops.operate.audit import audit as search

    return search(classes, dataset)


@group.command()
@click.option("--verify", is_flag=True, help="check the chain; name the first broken link")
@click.option("--head", default="", help="hash of an entry noted earlier, which must be there; with --verify")
@printed
def log(verify: bool, head: str) -> Result:
    """Print the log of aliases, promotions and erasures.

    The oldest entry comes first.
    """
    if head and not (verify and 12 <= len(head) <= 64 and set(head) <= set("0123456789abcdef")):
        raise ParameterError("head", head, "the first 12 to 64 digits of a hash, with --verify")
    from sa_mlops.operate.log import log as show

    return show(verify, head)


@group.command()
@click.option("--out", default=".", type=PATH, help="folder for private.pem and public.pem")
@printed
def keygen(out: Path) -> Result:
    """Make a pair of keys for signatures (ECDSA P-256)."""
    from sa_mlops.operate import keys

    return keys.keygen(out)


@group.command()
@click.argument("key", required=False, type=PATH)
@click.option("--remove", is_flag=True, help="trust no key; signatures are then not checked")
@printed
def trust(key: Path | None, remove: bool) -> Result:
    """Choose the public KEY whose signature weights must have.

    Without KEY the trusted key is shown. The environment variable SA_MLOPS_PUBLIC_KEY, the path of a key, takes
    precedence.
    """
    if key is not None and remove:
        raise click.UsageError("give KEY or --remove, not both")
    from sa_mlops.operate import keys

    return keys.trust(key, remove)


@group.command()
@click.argument("version")
@click.option("--key", required=True, type=PATH, help="file of the private key")
@click.option("--out", type=PATH, help="new folder; default: in the folder certificates")
@GATES
@printed
def certify(version: str, key: Path, out: Path | None, gates: Path | None) -> Result:
    """Write a signed certificate of VERSION and sign its weights.

    VERSION must pass every gate.
    """
    from sa_mlops.operate.certify import certify as write

    return write(version, key, out, gates)


@group.command()
@click.argument("folder", type=PATH)
@click.option("--key", type=PATH, help="file of the public key; default: the trusted one")
@click.option("--reproduce", is_flag=True, help="rebuild the version and its parents, and compare weights")
@printed
def verify(folder: Path, key: Path | None, reproduce: bool) -> Result:
    """Verify the certificate in FOLDER, offline and without a store."""
    from sa_mlops.operate.verify import verify as check
    from sa_mlops.stages.result import Result

    found = check(folder, key)
    if reproduce:
        from sa_mlops.operate.rebuild import rebuild

        made = rebuild(folder, found.document["statement"])
        found = Result(found.document | made.document, f"{found.text}\n{made.text}", made.passed)
    return found


@group.command()
@HELD
@DATASET
@click.option("--plan", "look", is_flag=True, help="print the plan alone, also that of an approved erasure")
@click.option("--approve", metavar="REASON", help="carry the plan out; the reason goes into the log")
@click.option("--delete", is_flag=True, help="delete the versions instead of withdrawing them")
@click.option("--settings", default="", help="JSON file with options of `forget` for a new successor")
@GATES
@printed
def erase(
    classes: tuple[str, ...], dataset: str | None, look: bool, approve: str | None, delete: bool, settings: str,
    gates: Path | None,
) -> Result:  # fmt: skip
    """Replace and withdraw every version that holds a class.

    Without --approve the plan is printed, and nothing changes; at a terminal the reason of the approval is then asked
    for. An approved erasure that was interrupted is resumed.
    """
    if look and approve is not None:
        raise click.UsageError("give --plan or --approve, not both")
    from sa_mlops.operate.plan import Request
    from sa_mlops.operate.plan import plan as read
    from sa_mlops.stages.result import Result

    request = Request(classes=classes, dataset=dataset, delete=delete, settings=settings, gates=gates)
    plan = read(request)
    if plan.approval is not None and not look:
        say(f"the erasure is resumed; approved because: {plan.approval.content.get('reason', '')}")
    elif look or (not plan.empty and approve is None):
        as_json = click.get_current_context().params["as_json"]
        if look or as_json or not sys.stdin.isatty():
            return Result(plan.document() | {"erased": False}, f"{plan.text()}\n{plan.next()}")
        click.echo(plan.text(), err=True)
        approve = click.prompt("reason of the approval (Ctrl-C: none)", err=True)
        if delete:
            click.confirm(f"delete {len(plan.withdraw)} versions for good?", abort=True, err=True)
    from sa_mlops.operate.erase import erase as carry_out

    return carry_out(request, approve or "")


@group.command()
@click.argument("version", default="latest")
@click.option(
    "--classes", default="all", show_default=True, help="classes to draw, by name or number, comma-separated",
    callback=_classes,
)  # fmt: skip
@click.option("--digits", hidden=True, callback=_classes)
@checked("seed", "random seed of the latents", "int", 0, low=SEED[0], high=SEED[1])
@checked("rows", "number of latents, one a row; 1 to 64", "int", 4, low=1, high=64)
@click.option("--out", type=FILE, help="PNG file to write; default: the terminal")
@click.option(
    "--compare", is_flag=True, help="draw the same latents with every version from the base to VERSION"
)
@printed
def sample(
    version: str, classes: tuple[str, ...], digits: tuple[str, ...] | None, seed: int, rows: int, out: Path | None,
    compare: bool,
) -> Result:  # fmt: skip
    """Draw samples of VERSION in the terminal or as a PNG file.

    VERSION is a number or an alias.
    """
    if digits is not None:
        say("--digits is now --classes")
        classes = digits
    _check_png(out)
    from sa_mlops.operate import look

    return look.samples(version, None if classes == ("all",) else classes, seed, rows, out, compare)


@group.command()
@click.argument("version")
@GATES
@printed
def promote(version: str, gates: Path | None) -> Result:
    """Make VERSION the champion if its metrics pass every gate."""
    from sa_mlops.operate.promote import promote as judge_and_promote

    return judge_and_promote(version, gates)


@group.command()
@click.argument("version", default="latest")
@click.option("--out", type=FOLDER, help="folder for report.html and report.md")
@printed
def report(version: str, out: Path | None) -> Result:
    """Write the measurements of VERSION as HTML and Markdown.

    VERSION is a number, an alias, or the id of a parent run.
    """
    from sa_mlops.operate.report import report as write

    return write(version, out)


@group.command()
@click.option("--fix", is_flag=True, help="mark runs whose process has exited as KILLED; deletes nothing")
@printed
def doctor(fix: bool) -> Result:
    """Find problems of environment, data, store and versions.

    Also checks orphaned runs, links and files. Each problem comes with a remedy.
    """
    from sa_mlops.operate.doctor import examine

    return examine(fix)


@group.command()
@click.argument("version")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps")
@printed
def reproduce(version: str, device: str) -> Result:
    """Rebuild VERSION from its settings, data and seed, and compare.

    VERSION is a number, an alias, or sa-fim/N.
    """
    from sa_mlops.operate.reproduce import reproduce as rebuild

    return rebuild(version, device)


@group.command("jobs")
@click.argument("job", required=False)
@click.option("--follow", is_flag=True, help="show the output of its tasks until the last one ends")
@click.option("--cancel", is_flag=True, help="cancel its unfinished tasks")
@printed
def submitted(job: str | None, follow: bool, cancel: bool) -> Outcome:
    """List, follow or cancel the jobs submitted from this folder.

    JOB is the name of a job, its SLURM number, or latest; without JOB all jobs are listed.
    """
    if (follow or cancel) and job is None:
        raise click.UsageError("--follow and --cancel need the JOB")
    if follow and cancel:
        raise click.UsageError("give --follow or --cancel, not both")
    from sa_mlops.cluster import jobs

    if job is None:
        return jobs.listed()
    act = jobs.follow if follow else jobs.cancel if cancel else jobs.shown
    return act(job)


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
    except Exception as error:
        if not comes_from_outside(error):
            raise
        return _fail(in_one_line(error, 400), FAILED)
    if isinstance(outcome, int):
        return outcome
    return DONE if outcome is None or outcome.passed else FAILED


def _fail(message: str, status: int) -> int:
    say(message)
    return status


def say(message: str) -> None:
    """One line on standard error."""
    click.echo(f"{PROGRAM}: {plain(message)}", err=True)
