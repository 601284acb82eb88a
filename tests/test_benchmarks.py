"""The benchmarks run and write what they promise. No figure is judged here: machines differ, and are busy."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from stores import ROOT

SECTIONS = ("a", "b", "c", "i", "j", "k", "l")
"""Those that are cheap enough in the smoke mode; the quick mode runs all of them."""


def benchmarks(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=840,
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmarks")
    done = benchmarks("--smoke", "--only", ",".join(SECTIONS), "--out", str(folder))
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.fixture(scope="module")
def results(written: Path) -> dict:
    return json.loads((written / "results.json").read_text())


def test_the_sections_asked_for_are_written(results: dict) -> None:
    assert [s["key"] for s in results["sections"]] == list(SECTIONS)


def test_machine_and_versions_are_stated(results: dict) -> None:
    machine = results["machine"]
    assert machine["processor"]
    assert machine["cores"] >= 1
    assert {"torch", "mlflow"} <= machine["versions"].keys()


def test_nothing_names_the_machine(written: Path) -> None:
    texts = [(written / name).read_text() for name in ("RESULTS.md", "results.json")]
    name = re.compile(rf"\b{re.escape(os.uname().nodename)}\b")
    assert not any(str(ROOT) in text or name.search(text) for text in texts)


def test_ratios_come_first(results: dict) -> None:
    for section in results["sections"]:
        ratios = [row["unit"] == "×" for row in section["rows"]]
        assert ratios == sorted(ratios, reverse=True), section["key"]


def test_a_target_is_met_missed_or_not_measured(results: dict) -> None:
    for row in (row for section in results["sections"] for row in section["rows"]):
        known = row["target"] is not None and row["value"] is not None
        assert isinstance(row["met"], bool) if known else row["met"] is None


def test_a_median_has_its_repeats(results: dict) -> None:
    loop = next(row for row in results["sections"][0]["rows"] if row["what"] == "batch-1 loop / ours")
    assert len(loop["repeats"]) >= 1
    assert min(loop["repeats"]) <= loop["value"] <= max(loop["repeats"])


def test_ours_agrees_with_the_loop(results: dict) -> None:
    row = next(r for r in results["sections"][0]["rows"] if "difference" in r["what"])
    assert row["value"] < 1e-4


def test_growth_is_drawn(written: Path, results: dict) -> None:
    assert (written / "growth.png").stat().st_size > 1000
    series = next(s for s in results["sections"] if s["key"] == "i")["series"]
    assert series
    assert all(len(s["sizes"]) == len(s["seconds"]) == len(s["peak_mib"]) for s in series)
    assert "growth.png" in (written / "RESULTS.md").read_text()


@pytest.mark.parametrize(
    "words", [("--only", "z"), ("--only", ""), ("--fast",), ("--out", "/dev/null/here"), ("more",)]
)
def test_a_wrong_command_line_is_one_line_and_status_2(words: tuple[str, ...]) -> None:
    done = benchmarks("--smoke", *words)
    assert done.returncode == 2
    assert done.stderr.startswith("benchmarks: ")
    assert done.stderr.count("\n") == 1
