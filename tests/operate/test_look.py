"""`sample` and `report`: pictures and evidence on a version."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from mlflow.tracking import MlflowClient
from PIL import Image
from stores import Store

from sa_mlops import cli
from sa_mlops.operate.look import terminal
from sa_mlops.plots.half_blocks import UPPER_HALF
from sa_mlops.registry import claims, gates, names, tracking, versions

pytestmark = pytest.mark.integration

Captured = pytest.CaptureFixture[str]


@pytest.mark.usefixtures("shared_store")
class TestSample:
    def test_a_picture_has_a_row_a_latent_and_a_column_a_digit(
        self, tmp_path: Path, capsys: Captured
    ) -> None:
        path = tmp_path / "a.png"
        words = ["sample", "1", "--digits", "3,1,0", "--rows", "2", "--out", str(path), "--json"]
        assert cli.main(words) == 0
        document = json.loads(capsys.readouterr().out)
        assert document == {
            "versions": ["models:/sa-cvae/1"],
            "classes": ["3", "1", "0"],
            "seed": 0,
            "rows": 2,
            "file": str(path),
        }
        width, height = Image.open(path).size
        assert width == pytest.approx(3 * 2 * 28, rel=0.15)
        assert height == pytest.approx(2 * 2 * 28, rel=0.15)

    def test_the_seed_decides_the_picture(self, tmp_path: Path) -> None:
        for name, seed in (("a", 0), ("b", 0), ("c", 1)):
            assert cli.main(["sample", "1", "--seed", str(seed), "--out", str(tmp_path / f"{name}.png")]) == 0
        pixels = {p.stem: np.asarray(Image.open(p)) for p in tmp_path.glob("*.png")}
        np.testing.assert_array_equal(pixels["a"], pixels["b"])
        assert not np.array_equal(pixels["a"], pixels["c"])

    def test_comparing_stacks_the_chain_at_the_same_latents(self, tmp_path: Path, capsys: Captured) -> None:
        alone, both = tmp_path / "alone.png", tmp_path / "both.png"
        assert cli.main(["sample", "1", "--rows", "2", "--out", str(alone)]) == 0
        capsys.readouterr()
        assert cli.main(["sample", "2", "--rows", "2", "--compare", "--out", str(both), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["versions"] == ["models:/sa-cvae/1", "models:/sa-cvae/2"]
        base, stacked = np.asarray(Image.open(alone)), np.asarray(Image.open(both))
        np.testing.assert_array_equal(stacked[: len(base)], base)

    def test_only_the_forgotten_column_changes_beyond_recognition(self, tmp_path: Path) -> None:
        for number in (1, 2):
            assert (
                cli.main(["sample", str(number), "--digits", "1,0", "--out", str(tmp_path / f"{number}.png")])
                == 0
            )
        before, after = (np.asarray(Image.open(tmp_path / f"{n}.png"), dtype=float) for n in (1, 2))
        change = np.abs(before - after)
        half = change.shape[1] // 2
        assert change[:, :half].mean() > 3 * change[:, half:].mean()

    def test_the_terminal_gets_half_blocks_no_wider_than_itself(
        self, capsys: Captured, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("COLUMNS", "50")
        assert cli.main(["sample", "2", "--rows", "1"]) == 0
        title, *picture = capsys.readouterr().out.splitlines()
        assert title == "v2 forget 1 (models:/sa-cvae/2)"
        assert picture
        assert all("\x1b[38;2;" in line for line in picture)
        assert {line.count(UPPER_HALF) for line in picture} == {50}

    def test_the_base_is_called_by_its_alias(self, capsys: Captured) -> None:
        assert cli.main(["sample", "base", "--rows", "1", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["versions"] == ["models:/sa-cvae/1"]


@pytest.mark.parametrize(("height", "lines"), [(1, 1), (2, 1), (3, 2), (28, 14)])
def test_two_rows_of_pixels_are_one_line(height: int, lines: int) -> None:
    text = terminal(np.linspace(0, 1, height * 4, dtype=np.float32).reshape(height, 4), 80)
    assert text.count("\n") + 1 == lines
    assert all(line.endswith("\x1b[0m") for line in text.splitlines())


class TestReport:
    @pytest.fixture
    def written(self, own_store: Store, tmp_path: Path, capsys: Captured) -> Path:
        assert cli.main(["report", "2", "--out", str(tmp_path / "report"), "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert document["versions"] == ["models:/sa-cvae/2"]
        return Path(document["html"])

    def test_the_page_loads_nothing_from_elsewhere(self, written: Path) -> None:
        page = written.read_text(encoding="utf-8")
        assert not re.findall(r"<(?:script|link|iframe|object|embed)\b", page)
        assert not re.findall(r"url\(|@import", page)
        sources = re.findall(r"""\b(?:src|href|srcset)\s*=\s*['"]?([^'">\s]{,40})""", page)
        assert len(sources) >= 3
        assert all(s.startswith("data:image/png;base64,") for s in sources)

    def test_it_has_the_numbers(self, written: Path) -> None:
        client = MlflowClient()
        version = versions.get(client, names.GENERATORS, 2)
        metrics = tracking.run_metrics(client, version.run_id)
        for text in (written.read_text(), written.with_suffix(".md").read_text()):
            for key in (
                "forget.prob",
                "forget.entropy",
                "retain.accuracy",
                "base.retain.accuracy",
                "class.7.accuracy",
            ):
                assert f"{metrics[key]:.4f}" in text
            assert version.tags["sa.data_md5"] in text
            assert "retrained without 1" in text

    def test_it_has_the_verdict_of_every_gate(self, written: Path) -> None:
        client = MlflowClient()
        version = versions.get(client, names.GENERATORS, 2)
        rows = written.with_suffix(".md").read_text().splitlines()
        for verdict in gates.judge_version(version, tracking.run_metrics(client, version.run_id)):
            (row,) = (row for row in rows if row.startswith(f"| {gates.GATES[verdict.gate].help} |"))
            assert f"| {verdict.found:.4f} |" in row
            assert row.endswith("| pass |" if verdict.passed else "| FAIL |")

    def test_without_probes_it_names_the_command_that_makes_the_evidence(self, written: Path) -> None:
        text = written.with_suffix(".md").read_text()
        command = "sa-mlops probe --dataset digits --version 2 --level all"
        assert f"`{command}`" in text
        assert f"<code>{command}</code>" in written.read_text()
        assert "## Real images faded" in text

    def test_parents_edited_into_a_ring_are_drawn(self, own_store: Store, tmp_path: Path) -> None:
        MlflowClient().set_model_version_tag(names.GENERATORS, "1", names.PARENT, "models:/sa-cvae/2")
        assert cli.main(["report", "2", "--out", str(tmp_path)]) == 0

    def test_claims_and_levels_are_in_report_and_model_card(self, own_store: Store, tmp_path: Path) -> None:
        client = MlflowClient()
        run_id = versions.get(client, names.GENERATORS, 2).run_id
        for subject, rate in (("", 0.01), ("base", 0.99), ("retrained", 0.02), ("switch", 0.97)):
            for key, value in (("", rate), (".low", rate - 0.01), (".high", rate + 0.01)):
                client.log_metric(run_id, claims.metric("A3", subject) + key, value)
        claim = claims.claim(tracking.run_metrics(client, run_id))
        client.set_model_version_tag(names.GENERATORS, "2", names.LEVEL, claim)
        assert cli.main(["report", "2", "--out", str(tmp_path)]) == 0
        card = versions.get(client, names.GENERATORS, 2).description
        for text in (card, (tmp_path / "report.html").read_text(), (tmp_path / "report.md").read_text()):
            assert "suppressed against A3 (A0 to A2, A4 to A6 not measured)" in text
            assert "removed:" not in text
        assert "| attacker | base | v2 forget 1 | retrained | switch |" in card
        assert "| A3 edits weights | 0.99 \\[0.98, 1.00] | 0.01 \\[0.00, 0.02] |" in card

    def test_a_report_can_be_made_again_from_its_own_command(self, written: Path) -> None:
        text = written.with_suffix(".md").read_text()
        (command,) = re.findall(r"mlflow run \. -e forget .*", text)
        assert "-P from_version=1" in command
        assert "-P steps=120" in command

    def test_both_files_are_on_the_versions_run(self, written: Path) -> None:
        client = MlflowClient()
        run_id = versions.get(client, names.GENERATORS, 2).run_id
        found = {a.path for a in client.list_artifacts(run_id, "report")}
        assert found == {"report/report.html", "report/report.md"}

    def test_tags_edited_by_hand_are_text_in_the_page(self, own_store: Store, tmp_path: Path) -> None:
        client = MlflowClient()
        client.set_model_version_tag(names.GENERATORS, "2", "sa.git_commit", "<script>alert(1)</script>")
        assert cli.main(["report", "2", "--out", str(tmp_path)]) == 0
        page = (tmp_path / "report.html").read_text()
        assert "<script" not in page
        assert "&lt;script&gt;" in page
