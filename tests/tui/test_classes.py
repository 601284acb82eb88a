"""Samples and metrics of any classes, sizes and colours."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from rich.cells import cell_len
from scenes import Scene
from screen import application, opened, press, registry, select, text
from waiting import until

from sa_mlops.datasets.spec import DataSpec
from sa_mlops.models.interface import make_net
from sa_mlops.registry import names, weights
from sa_mlops.registry.version import Version
from tui.services import decode
from tui.services.records import Run, Snapshot
from tui.services.sampler import Images
from tui.widgets import facts
from tui.widgets.picture import Samples, arrange, draw_samples, mosaic

LETTERS = DataSpec("letters", tuple(chr(ord("A") + i) for i in range(26)), (1, 32, 24))
CLOTHES = DataSpec("clothes", ("coat", "ankle boot", "T-shirt"), (3, 16, 12))


def blank(spec: DataSpec, rows: int = 2) -> Images:
    channels, height, width = spec.shape
    count = len(spec.classes)
    pixels = bytes(rows * count * channels * height * width)
    return Images(
        rows=rows, columns=count, height=height, width=width, channels=channels, z_dim=4, pixels=pixels
    )


@pytest.mark.parametrize("spec", [LETTERS, CLOTHES], ids=lambda spec: spec.name)
@pytest.mark.parametrize("size", [(76, 18), (120, 50), (20, 6)])
def test_every_class_has_a_column_and_a_heading(spec: DataSpec, size: tuple[int, int]) -> None:
    width, height = size
    lines = draw_samples([Samples("v1", blank(spec), spec.classes, (0,))], width, height)
    shown = " ".join(line.text for line in lines)
    assert all(name[:3] in shown for name in spec.classes)
    assert max(line.cell_length for line in lines) <= width + 1


def test_images_keep_their_proportions() -> None:
    plan = arrange(200, 60, 1, blank(LETTERS))
    assert plan.height / plan.width == pytest.approx(32 / 24, rel=0.15)


def test_a_png_has_the_colours_of_the_images() -> None:
    images = blank(CLOTHES, rows=1)
    red = bytes([200, 10, 20]) * (16 * 12)
    coloured = Images(
        rows=1, columns=3, height=16, width=12, channels=3, z_dim=4, pixels=red + images.pixels[len(red) :]
    )
    assert mosaic([Samples("v1", coloured, CLOTHES.classes)]).getpixel((10, 10)) == (200, 10, 20)


@pytest.mark.parametrize("spec", [LETTERS, CLOTHES], ids=lambda spec: spec.name)
@pytest.mark.parametrize("label", [None, 2])
def test_generators_of_any_shape_are_decoded(spec: DataSpec, label: int | None, tmp_path: Path) -> None:
    weights.save_cvae(tmp_path, make_net("mlp", spec, 4))
    request = {"folder": str(tmp_path), "seed": 0, "rows": 2, "shift": {"1": 0.5}, "label": label}
    out = io.BytesIO()
    decode.answer(json.dumps(request).encode(), out)
    line, _, pixels = out.getvalue().partition(b"\n")
    head = json.loads(line)
    channels, height, width = spec.shape
    assert (head["channels"], head["height"], head["width"]) == (channels, height, width)
    assert head["columns"] == (1 if label is not None else len(spec.classes))
    assert len(pixels) == head["size"] == 2 * head["columns"] * channels * height * width


def version(number: int, forgotten: str, parent: int | None = 1, **tags: str) -> Version:
    given = {names.CLASSES: ",".join(CLOTHES.classes), names.FORGOTTEN: forgotten, **tags}
    if parent is not None:
        given[names.PARENT] = names.version_uri(names.GENERATORS, parent)
    stage = "forget" if forgotten else "base"
    return Version(names.GENERATORS, number, {names.STAGE: stage, **given}, run_id=f"r{number}")


def snapshot(
    *found: tuple[Version, dict[str, float]], params: dict[str, dict[str, str]] | None = None
) -> Snapshot:
    runs = {
        v.run_id: Run(run_id=v.run_id, metrics=m, params=(params or {}).get(v.run_id, {})) for v, m in found
    }
    return Snapshot(versions={(v.name, v.number): v for v, _ in found}, runs=runs)


def per_class(**values: float) -> dict[str, float]:
    return {names.class_metric(c.replace("_", " "), "accuracy"): v for c, v in values.items()}


def test_changes_compare_the_same_classes_on_both_sides() -> None:
    base, first, second = version(1, "", None), version(2, "coat"), version(3, "coat,T-shirt", 2)
    before = {"retain.accuracy": 0.9, names.class_metric("T-shirt", "accuracy"): 0.6}
    shown = snapshot(
        (base, {"retain.accuracy": 0.99, "base.test_nelbo": 80.0}),
        (first, before | {names.class_metric("ankle boot", "accuracy"): 0.8, "base.retain.accuracy": 0.95}),
        (second, {"retain.accuracy": 0.7, "base.retain.accuracy": 0.97}),
    )
    assert shown.before(first, base)["retain.accuracy"] == 0.95
    assert shown.before(second, base)["retain.accuracy"] == 0.97
    # The parent retained the T-shirt as well: of the retained classes of both, only the boot is left.
    assert shown.before(second, first)["retain.accuracy"] == 0.8


def test_a_change_without_values_of_the_same_classes_is_left_out() -> None:
    first, second = version(2, "coat", None), version(3, "coat,T-shirt", 2)
    shown = snapshot((first, {"retain.accuracy": 0.9, "retain.fid": 4.0}), (second, {}))
    assert "retain.accuracy" not in shown.before(second, first)
    assert "retain.fid" not in shown.before(second, first)


async def test_the_change_against_a_parent_that_is_the_base_is_shown_once(
    scene: Scene, tmp_path: Path
) -> None:
    app = application(scene.uri, tmp_path)
    async with opened(app) as pilot:
        await select(pilot, 2)
        assert "vs parent" not in text(app)
        shown = [line for line in text(app).split("\n") if "class.3.accuracy" in line or "retain." in line]
    assert len(shown) >= 3
    for line in shown:
        assert len(re.findall(r"[+-]\d\.\d{4}", line)) == 1, line


def test_compared_versions_have_no_false_differences() -> None:
    one, two = version(2, "coat"), version(3, "coat")
    given = {"r2": {"start": "auto", "resolved.start": "1", "steps": "5"}, "r3": {"start": "1", "steps": "6"}}
    shown = facts.compared(snapshot((one, {}), (two, {}), params=given), [one, two], 100).plain
    assert "start" not in shown
    assert "steps" in shown


def test_what_a_version_had_to_lose_is_not_marked_as_best() -> None:
    one, two = version(2, "coat"), version(3, "T-shirt")
    lost = names.class_metric("coat", "accuracy")
    kept = names.class_metric("ankle boot", "accuracy")
    found = snapshot((one, {lost: 0.1, kept: 0.8}), (two, {lost: 0.9, kept: 0.7}))
    lines = facts.compared(found, [one, two], 100).plain.split("\n")
    assert "◆" not in next(line for line in lines if lost in line)
    assert "0.8000 ◆" in next(line for line in lines if kept in line)


def test_the_base_is_compared_over_the_classes_of_the_version_beside_it() -> None:
    base, one = version(1, "", None), version(2, "coat")
    found = snapshot(
        (base, {"retain.fid": 5.0, "base.test_nelbo": 80.0}),
        (one, {"forget.prob": 0.1, "retain.fid": 4.5, "base.forget.prob": 0.9, "base.retain.fid": 4.0}),
    )
    lines = facts.compared(found, [base, one], 100).plain.split("\n")
    assert next(line for line in lines if "forget.prob" in line).split() == [
        "forget.prob",
        "0.9000",
        "0.1000",
        "◆",
    ]
    assert next(line for line in lines if "retain.fid" in line).split() == [
        "retain.fid",
        "4.0000",
        "◆",
        "4.5000",
    ]


def test_metrics_stand_before_settings_without_empty_lines_between() -> None:
    one, two = version(2, "coat"), version(3, "coat")
    lines = facts.compared(snapshot((one, {"forget.prob": 0.1}), (two, {})), [one, two], 100).plain.split(
        "\n"
    )
    assert "metrics" in lines[2]
    assert "forget.prob" in lines[3]


def test_equal_metrics_are_left_out_of_the_differences() -> None:
    one, two = version(2, "coat"), version(3, "coat")
    found = snapshot((one, {"forget.prob": 0.1, "retain.fid": 2.0}), (two, {"forget.prob": 0.1}))
    shown = facts.compared(found, [one, two], 100, differing=True).plain
    assert "forget.prob" not in shown
    assert "retain.fid" in shown


def test_the_matrix_of_classes_has_their_names() -> None:
    one = version(2, "coat")
    shown = facts.class_matrix(snapshot((one, {names.class_metric("coat", "prob"): 0.3})), [one], 100).plain
    assert "ankle boot" in shown
    assert "(0.300)" in shown


def test_headings_of_forgotten_classes_fit_their_column() -> None:
    long = DataSpec("long", ("a very long name of a class", "b"), (1, 8, 8))
    lines = draw_samples([Samples("v1", blank(long), long.classes, (0,))], 40, 12)
    assert max(cell_len(line.text) for line in lines) <= 40


async def test_one_class_is_shown_alone_by_its_name(scene: Scene, tmp_path: Path) -> None:
    app = application(scene.uri, tmp_path, tab="samples")
    async with opened(app) as pilot:
        await select(pilot, 2)
        await press(pilot, "n", "n")
        await until(lambda: "class 1 (forgotten)" in text(app), "the class is not named")
        assert registry(app).preview.view.label == 1
