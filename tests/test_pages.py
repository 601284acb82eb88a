"""README and docs say what the program does: links resolve, and every command in them is read by the real parser."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import string
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import click
import pytest
import yaml
from stores import ROOT

from benchmarks.__main__ import command as benchmark_command
from sa_mlops import cli
from sa_mlops.cluster.plan import option_words
from sa_mlops.config import ENTRY_POINTS, EntryPoint, RunConfig, SubmitConfig
from tui.__main__ import command as tui_command

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
POINTS = yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"]
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@cache
def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def links(page: Path) -> list[str]:
    """Targets of links and pictures, without those of other sites."""
    text = re.sub(r"`[^`]*`", "", prose(page))
    found = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"(?:src|srcset|href)=\"([^\"]+)\"", text)
    return [target for target in found if not re.match(r"[a-z]+://", target)]


@cache
def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands() -> Iterator[tuple[str, str, bool]]:
    """(page, command, whole) for every command of ours; those in the middle of a sentence need not be whole."""
    for page in PAGES:
        for block in re.findall(r"^```sh\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                bare = re.sub(r"(^|\s)#.*$", "", line).strip()
                command = re.sub(r"^([A-Z_]+=\S+ +)+", "", bare)
                if command.split(" ")[0] in CHECKS and not command.startswith("python -c"):
                    yield name(page), command, True
        for code in re.findall(r"`([^`]+)`", prose(page)):
            command = " ".join(code.split())
            if command.split(" ")[0] in CHECKS and "..." not in command:
                yield name(page), command, False


def test_readme_is_a_first_page() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_and_anchors_resolve(page: Path) -> None:
    broken = []
    for target in links(page):
        path, _, anchor = unquote(target).partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(target)
    assert broken == []


def test_every_page_is_reachable_from_readme() -> None:
    seen: set[Path] = set()
    ahead = [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page not in seen:
            seen.add(page)
            targets = ((page.parent / target.partition("#")[0]).resolve() for target in links(page))
            ahead += [target for target in targets if target.suffix == ".md" and target.is_file()]
    assert set(PAGES) - seen == set()


def test_every_figure_is_shown() -> None:
    shown = {(page.parent / target).resolve() for page in PAGES for target in links(page)}
    pictures = {path for folder in ("figures", "screenshots") for path in (ROOT / "docs" / folder).iterdir()}
    assert pictures - shown == set()


@pytest.mark.parametrize("page", PAGES[1:], ids=name)
def test_a_page_begins_with_the_question_that_it_answers(page: Path) -> None:
    first = page.read_text().split("\n\n")[1]
    assert re.match(r"(This page|These pages) (answers?|lists?) ", first)


def test_the_picture_of_the_layout_is_true() -> None:
    picture = (ROOT / "docs" / "development.md").read_text().split("```")[1]
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    paths = [Path(line) for line in tracked.splitlines()]
    known = {path.name for path in paths} | {f"{parent.name}/" for path in paths for parent in path.parents}
    shown = set(re.findall(r"[\w.-]+(?:\.\w+|/)(?=[\s,:]|$)", picture))
    packages = {f"{path.parent.name}/" for path in paths if path.match("sa_mlops/*/__init__.py")}
    assert (shown - known, packages - shown) == (set(), set())


def leaf(command: click.Command, words: list[str]) -> click.Context:
    """The context of the subcommand that a command line names, parsed and not run."""
    words = list(words)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        assert words[0] in command.commands, f"no command {words[0]!r}"
        command = command.commands[words.pop(0)]
    with suppress(click.exceptions.Exit):
        return command.make_context(command.name, words)
    return click.Context(command)


def config_of(point: EntryPoint, texts: Mapping[str, Any]) -> RunConfig:
    """The configuration that an entry point gets from these values as text."""
    definitions = point.config.parameters()
    return point.config(**{k: definitions[k].parse(k, text) for k, text in texts.items() if k in definitions})


def check_sa_mlops(words: list[str]) -> None:
    context = leaf(cli.group, words)
    point = ENTRY_POINTS.get(words[1] if words[0] == "submit" else words[0])
    if point is None:
        return
    if words[0] == "submit":
        own = {k: context.params[word] for k, word in option_words(point).items()}
        SubmitConfig(**{k: p.parse(k, context.params[k]) for k, p in SubmitConfig.parameters().items()})
    else:
        own = context.params
    config_of(point, own)


def check_mlflow(words: list[str]) -> None:
    from mlflow.cli import cli as mlflow_group

    context = leaf(mlflow_group, words)
    if words[0] == "run":
        entry = context.params["entry_point"]
        given = dict(pair.split("=", 1) for pair in context.params["param_list"])
        assert given.keys() <= POINTS[entry]["parameters"].keys()
        config_of(ENTRY_POINTS["forget" if entry == "main" else entry], given)


def check_make(words: list[str]) -> None:
    target, *variables = words
    assert target in TARGETS
    for variable in variables:
        variable_name, _, value = variable.partition("=")
        assert variable_name in ("ARGS", "PYTHON", "VENV")
        if variable_name == "ARGS" and target in ("forget", "tune"):
            check_mlflow(["run", ".", "-e", target, *shlex.split(value)])
        elif variable_name == "ARGS" and target == "tui":
            leaf(tui_command, shlex.split(value))
        elif variable_name == "ARGS" and target == "bench":
            leaf(benchmark_command, shlex.split(value))


def check_sa_tui(words: list[str]) -> None:
    leaf(tui_command, words)


def check_script(words: list[str]) -> None:
    source = (ROOT / words[0]).read_text()
    assert [word for word in words[1:] if word.startswith("--") and f'"{word}"' not in source] == []


CHECKS: dict[str, Callable[[list[str]], None]] = {
    "sa-mlops": check_sa_mlops,
    "sa-tui": check_sa_tui,
    "mlflow": check_mlflow,
    "make": check_make,
    "python": check_script,
}
PLACEHOLDERS = {"VERSION": "2", "JOB": "latest", "C": "1"}
"""Word in capitals -> a value that it may stand for."""


OWN = {
    "photos": ["cat", "dog"],
    "letters": list(string.ascii_uppercase),
    "wear": ["trouser", "bag", "ankle boot"],
    "greek": ["delta", "psi"],
}
"""Data sets that the pages add -> their classes."""


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkout in which the data sets of the pages are pinned."""
    for name in ("data.dvc", "MLproject"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "datasets").mkdir()
    for name, classes in OWN.items():
        outs = [{"md5": f"{'0' * 32}.dir", "size": 1, "path": name}]
        pin = {"outs": outs, "meta": {"classes": classes, "shape": [3, 32, 32]}}
        (tmp_path / "datasets" / f"{name}.dvc").write_text(json.dumps(pin))
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("checkout")
@pytest.mark.parametrize(("page", "text", "whole"), sorted(set(commands())))
def test_commands_are_understood(page: str, text: str, whole: bool) -> None:
    program, *words = [PLACEHOLDERS.get(word, word) for word in shlex.split(text)]
    try:
        if words:
            CHECKS[program](words)
    except (click.MissingParameter, click.exceptions.NoArgsIsHelpError):
        assert not whole
