"""The command line's contract: exit statuses, one line for a mistake, one JSON document, and a light start."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import torch
from stores import BRIEF, FORGET, Run, Start, Store

from sa_mlops import cli
from sa_mlops.config import ENTRY_POINTS, ForgetConfig
from sa_mlops.methods.selective_amnesia import AmnesiaConfig
from sa_mlops.stages import retrain
from sa_mlops.stages.result import Result

Captured = pytest.CaptureFixture[str]


def error_of(captured: Captured, *arguments: str, status: int = 2) -> str:
    """The one line that a command leaves on standard error, and nothing on standard output."""
    assert cli.main(arguments) == status
    out, err = captured.readouterr()
    assert out == ""
    assert err.startswith("sa-mlops: ")
    assert err.count("\n") == 1
    return err.removeprefix("sa-mlops: ").rstrip()


@pytest.mark.parametrize(
    ("words", "option", "value", "allowed"),
    [
        ("forget --classes 10", "--classes", "'10'", "classes of mnist (0, 1, 2"),
        ("forget --classes ,", "--classes", "','", "different classes"),
        ("forget --classes 1,1", "--classes", "'1,1'", "different classes"),
        ("forget --classes 0,1,2,3,4,5,6,7,8,9", "--classes", "'0,1,2,3,4,5,6,7,8,9'", "at most 9 of"),
        ("sequential --classes 0,1,2,3,4,5,6,7,8,9", "--classes", "'0,1,2,3,4,5,6,7,8,9'", "at most 9"),
        ("retrain --classes 0,1,2,3,4,5,6,7,8,9", "--classes", "'0,1,2,3,4,5,6,7,8,9'", "at most 9"),
        ("forget --ewc-lambda -1", "--ewc-lambda", "'-1'", "from 0"),
        ("forget --ewc-lambda=-1", "--ewc-lambda", "'-1'", "from 0"),
        ("forget --ewc-lambda nan", "--ewc-lambda", "'nan'", "from 0"),
        ("forget --ewc-lambda inf", "--ewc-lambda", "'inf'", "from 0"),
        ("forget --replay-ratio 0", "--replay-ratio", "'0'", "above 0"),
        ("forget --dataset cifar", "--dataset", "'cifar'", "digits, fashion-mnist, mnist"),
        ("forget --recipe slow", "--recipe", "'slow'", "fast, paper"),
        ("forget --device gpu", "--device", "'gpu'", "auto, cpu, cuda"),
        ("forget --fresh maybe", "--fresh", "'maybe'", "true or false"),
        ("forget --seed -1", "--seed", "'-1'", "from 0"),
        ("forget --steps 0", "--steps", "'0'", "from 1"),
        ("forget --z-dim 0", "--z-dim", "'0'", "from 1 to 256"),
        ("forget --surrogate ./nowhere", "--surrogate", "'./nowhere'", "existing folder"),
        ("sample --classes 1,1", "--classes", "'1,1'", "different classes"),
        ("probe --target x", "--target", "'x'", "classes of mnist"),
        ("latent --label 10", "--label", "'10'", "classes of mnist"),
        ("forget --method magic", "--method", "'magic'", "one of ablation, erasediff, esd"),
        ("forget --method retrain --ewc-lambda 3", "--ewc-lambda", "'3.0'", "only with --method selective"),
        ("forget --method retrain --fisher-samples 9", "--fisher-samples", "'9'", "only with --method sel"),
        ("forget --net tree", "--net", "'tree'", "auto, conv, mlp"),
        ("forget --classes 3 --digit 4", "--classes", "'3'", "it without --digit"),
        ("sample --rows 65", "--rows", "'65'", "from 1 to 64"),
        ("sample --out nowhere/a.png", "--out", "'nowhere/a.png'", "existing folder"),
        ("sample --out picture.jpg", "--out", "'picture.jpg'", ".png"),
    ],
)
def test_a_wrong_value_is_named_with_its_option_and_the_allowed_values(
    capsys: Captured, words: str, option: str, value: str, allowed: str
) -> None:
    line = error_of(capsys, *words.split())
    assert line.startswith(f"{option}: {value} is not allowed; give ")
    assert allowed in line


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a CUDA device")
def test_cuda_without_a_cuda_device_is_refused_with_the_devices_present(capsys: Captured) -> None:
    line = error_of(capsys, "forget", "--device", "cuda")
    assert line.startswith("--device: 'cuda' is not allowed; ")
    assert "cpu" in line


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("frobnicate", "No such command 'frobnicate'"),
        ("forget --nonsense 3", "No such option '--nonsense'"),
        ("forget --classes", "'--classes' requires an argument"),
        ("data extra", "No such command"),
        ("promote", "Missing argument 'VERSION'"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_status_2(capsys: Captured, words: str, told: str) -> None:
    assert told in error_of(capsys, *words.split())


def test_no_command_at_all_prints_the_help_and_is_status_2(capsys: Captured) -> None:
    assert cli.main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Commands:" in err


@pytest.mark.integration
@pytest.mark.parametrize(
    "words",
    [
        "sample",
        "evaluate",
        "promote 1",
        "report",
        "forget --from-version 7",
        "fim --from-version base",
        "sequential --from-version champion",
    ],
)
def test_in_an_empty_store_every_version_is_unknown_and_the_way_out_is_told(
    capsys: Captured, empty_store: Store, words: str
) -> None:
    line = error_of(capsys, *words.split())
    assert "sa-cvae has no version yet" in line
    assert "`sa-mlops base`" in line


@pytest.mark.integration
def test_the_lineage_of_an_empty_store_names_the_first_command(capsys: Captured, empty_store: Store) -> None:
    assert cli.main(["lineage"]) == 0
    assert "sa-mlops forget" in capsys.readouterr().out


@pytest.mark.integration
@pytest.mark.parametrize(
    "word",
    [
        *["99", "nobody", "0", "-3", "1.0", "models:/sa-cvae/1", "runs:/0/generator", "/etc", "../1", "é"],
        "1 OR 1=1",
    ],
)
def test_an_unknown_version_is_refused_with_the_known_ones(
    capsys: Captured, shared_store: Store, word: str
) -> None:
    line = error_of(capsys, "forget", "--dataset", "digits", "--classes", "2", f"--from-version={word}")
    assert line.startswith(f"--from-version: '{word}' is not allowed; ")
    assert "up to 3" in line
    assert "base" in line
    assert "latest" in line


@pytest.mark.integration
@pytest.mark.parametrize(
    ("words", "option"),
    [
        ("sample nobody", "VERSION"),
        ("report ../../etc", "VERSION"),
        ("promote models:/sa-cvae/1", "VERSION"),
        ("evaluate --dataset digits --version runs:/0/generator", "--version"),
    ],
)
def test_every_command_that_takes_a_version_refuses_an_unknown_one(
    capsys: Captured, shared_store: Store, words: str, option: str
) -> None:
    assert error_of(capsys, *words.split()).startswith(f"{option}: ")


@pytest.mark.integration
def test_a_store_that_is_no_database_is_one_line_and_status_1(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "text.db").write_text("certainly not a database, however long it is\n" * 100)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/text.db")
    assert "not a database" in error_of(capsys, "lineage", status=1)


@pytest.mark.integration
def test_a_mistake_on_a_real_command_line_leaves_no_traceback(sa_mlops: Run, empty_store: Store) -> None:
    done = sa_mlops("sample", "nobody")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.integration
@pytest.mark.parametrize("words", ["lineage", "sample 2 --rows 1 --classes 1,2"])
def test_json_is_exactly_one_document_on_standard_output(
    sa_mlops: Run, shared_store: Store, words: str
) -> None:
    done = sa_mlops(*words.split(), "--json")
    assert done.returncode == 0, done.stderr
    assert isinstance(json.loads(done.stdout), dict)


@pytest.mark.integration
def test_a_stage_prints_one_document_and_its_progress_elsewhere(python: Run, own_store: Store) -> None:
    done = python(BRIEF, *FORGET, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["version"] == "models:/sa-cvae/2"
    assert "reused" in done.stderr


def test_a_reader_that_has_seen_enough_is_no_error(start: Start) -> None:
    process = start("-c", "import sys; from sa_mlops.cli import main; sys.exit(main(['data']))")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.wait(timeout=120) == 0
    assert process.stderr.read() == ""


@pytest.mark.parametrize(
    "words", [["--help"], ["forget", "--help"], ["--version"], ["forget", "--classes", "x"]]
)
def test_help_and_refusals_import_nothing_heavy(words: list[str]) -> None:
    assert imported(words).stderr.splitlines()[-1] == "[]"


def test_the_files_of_the_data_are_told_without_heavy_imports_and_as_one_document() -> None:
    done = imported(["data", "--json"])
    assert json.loads(done.stdout)["verified"] is True
    assert done.stderr.splitlines()[-1] == "[]"


def imported(words: list[str]) -> subprocess.CompletedProcess[str]:
    """A command; its last line on standard error lists the heavy packages that it has imported."""
    heavy = {"torch", "mlflow", "dvc", "matplotlib", "numpy", "pandas", "sklearn", "optuna", "textual"}
    code = (
        "import sys; from sa_mlops.cli import main\n"
        f"try: main({words!r})\n"
        f"finally: print(sorted({heavy!r} & sys.modules.keys()), file=sys.stderr)"
    )
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )


@pytest.mark.parametrize("command", ["", *cli.group.commands])
def test_every_command_has_help(capsys: Captured, command: str) -> None:
    assert cli.main([*command.split(), "--help"]) == 0
    assert "Usage: sa-mlops" in capsys.readouterr().out


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_every_parameter_of_an_entry_point_is_an_option(name: str) -> None:
    options = {o.name for o in cli.group.commands[name].params if not o.hidden} - {"as_json"}  # type: ignore[attr-defined]
    assert options == ENTRY_POINTS[name].config.parameters().keys()


@pytest.mark.parametrize(
    ("words", "fresh"),
    [
        ((), False),
        (("--fresh",), True),
        (("--fresh", "true"), True),
        (("--fresh", "false"), False),
        (("--fresh", "--classes", "3"), True),
    ],
)
def test_fresh_may_stand_alone_or_with_a_word(words: tuple[str, ...], fresh: bool) -> None:
    assert parsed("forget", *words).get("fresh", False) is fresh


def test_options_reach_the_config_with_their_values() -> None:
    words = "--classes 7,2 --ewc-lambda 3 --steps auto --lr 1e-3 --from-version 4 --recipe paper"
    config = ForgetConfig(**parsed("forget", *words.split()))
    assert (config.classes, config.indices, config.ordered) == (("7", "2"), (2, 7), (7, 2))
    assert (config.from_version, config.recipe) == ("4", "paper")
    options = config.options
    assert isinstance(options, AmnesiaConfig)
    assert (options.ewc_lambda, options.steps, options.lr) == (3.0, None, 1e-3)


@pytest.mark.parametrize(
    ("words", "classes", "told"),
    [
        ("forget --digit 3", ("3",), "--digit is now --classes"),
        ("forget --digits 3,7", ("3", "7"), "--digits is now --classes"),
        ("sequential --digits 7,3", ("7", "3"), "--digits is now --classes"),
        ("oracle --digits 3", ("3",), "--digits is now --classes"),
        ("tune --digits 3", ("3",), "--digits is now --classes"),
    ],
)
def test_old_names_of_options_work_with_one_line_on_standard_error(
    capsys: Captured, words: str, classes: tuple[str, ...], told: str
) -> None:
    command, *options = words.split()
    assert parsed(command, *options) == {"classes": classes}
    assert capsys.readouterr().err == f"sa-mlops: {told}\n"


def test_old_names_of_commands_and_flags_work_with_one_line_on_standard_error(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrain, "run", lambda config: Result({}, ""))
    assert cli.main(["oracle"]) == 0
    assert capsys.readouterr().err == "sa-mlops: oracle is now retrain\n"
    assert parsed("evaluate", "--all-digits", "true") == {"all_classes": True}


@pytest.mark.parametrize(("words", "steps"), [((), 40), (("--steps", "auto"), None), (("--steps", "7"), 7)])
def test_an_option_overrides_a_settings_file_also_with_its_default(
    tmp_path: Path, words: tuple[str, ...], steps: int | None
) -> None:
    path = tmp_path / "best.json"
    path.write_text('{"steps": 40, "lr": 0.001}')
    options = ForgetConfig(**parsed("forget", "--settings", str(path), *words)).options
    assert isinstance(options, AmnesiaConfig)
    assert (options.steps, options.lr) == (steps, 0.001)


def parsed(command: str, *words: str) -> dict[str, Any]:
    """The values that a command line gives to the parameters of an entry point."""
    definitions = ENTRY_POINTS[command.replace("oracle", "retrain")].config.parameters()
    with cli.group.commands[command].make_context(command, list(words)) as context:
        return cli.given_options(definitions, context.params)


@pytest.mark.parametrize(("passed", "status"), [(True, 0), (False, 1)])
def test_a_command_whose_answer_is_no_ends_with_status_1(
    monkeypatch: pytest.MonkeyPatch, passed: bool, status: int
) -> None:
    @click.command()
    def answer() -> Result:
        return Result({}, "", passed)

    monkeypatch.setitem(cli.group.commands, "answer", answer)
    assert cli.main(["answer"]) == status
