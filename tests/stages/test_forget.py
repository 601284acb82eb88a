"""`forget`: from a version that has forgotten already, into a user's pictures; and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow.tracking import MlflowClient
from PIL import Image
from stores import Store, isolate

from sa_mlops import cli
from sa_mlops.parameters import ParameterError
from sa_mlops.registry import lineage, names, versions
from sa_mlops.registry.version import Version
from sa_mlops.stages import pictures

CPU = torch.device("cpu")
SHAPE = (1, 28, 28)


def picture(path: Path, size: tuple[int, int], mode: str = "L", value: int = 200) -> None:
    Image.new(mode, size, value if mode == "L" else (value,) * len(mode)).save(path)


@pytest.mark.integration
class TestChain:
    """Two digits at once, from the version without the digit 1, into pictures from a folder."""

    @pytest.fixture(scope="class")
    def made(self, digits_store: Store, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Version]:
        folder = tmp_path_factory.mktemp("chain")
        (folder / "pictures").mkdir()
        for i in range(3):
            picture(folder / "pictures" / f"{i}.png", (20 + i, 40), value=60 * i)
        with pytest.MonkeyPatch.context() as patch:
            isolate(patch, folder)
            store = digits_store.copy(folder)
            command = (
                "forget",
                "--dataset",
                "digits",
                "--classes",
                "3,2",
                "--from-version",
                "2",
                "--surrogate",
                "pictures",
            )
            assert cli.main([*command, "--steps", "40", "--fisher-samples", "500"]) == 0
            return store, versions.resolve(MlflowClient(), names.GENERATORS, "latest")

    @pytest.fixture(autouse=True)
    def store_of_the_chain(self, made: tuple[Store, Version], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", made[0].uri)

    def test_the_class_is_added_to_the_forgotten_ones(self, made: tuple[Store, Version]) -> None:
        assert made[1].forgotten == ("1", "2", "3")
        assert made[1].tags["sa.forgotten_last"] == "2"

    def test_the_chain_leads_back_to_the_base(self, made: tuple[Store, Version]) -> None:
        assert [v.number for v in lineage.chain(MlflowClient(), made[1])] == [1, 2, 4]
        assert made[1].tags["sa.base"] == "models:/sa-cvae/1"

    def test_it_was_protected_by_the_fisher_diagonal_of_its_parent(self, made: tuple[Store, Version]) -> None:
        (name, number) = names.parse_uri(made[1].tags["sa.fim"]) or ("", 0)
        assert versions.get(MlflowClient(), name, number).parent == 2

    def test_the_pictures_are_part_of_the_configuration(self, made: tuple[Store, Version]) -> None:
        settings = json.loads(made[1].tags["sa.settings"])
        assert settings["surrogate"] == "images"
        assert len(settings["surrogate_md5"]) == 32

    def test_the_earlier_class_is_re_taught_and_never_replayed(self, made: tuple[Store, Version]) -> None:
        settings = json.loads(made[1].tags["sa.settings"])
        assert (settings["forget"], settings["earlier"], settings["reteach"]) == ([2, 3], [1], 0.25)

    def test_no_forgotten_class_is_recognised(self, made: tuple[Store, Version]) -> None:
        metrics = MlflowClient().get_run(made[1].run_id).data.metrics
        assert max(metrics[f"class.{d}.prob"] for d in (1, 2, 3)) < 0.3


@pytest.mark.integration
@pytest.mark.parametrize(
    ("words", "option", "allowed"),
    [
        ("--classes 1 --from-version 2", "--classes: '1' ", "has not forgotten (0,2,3,4,5,6,7,8,9)"),
        ("--classes 1,5 --from-version 2", "--classes: '1' ", "has not forgotten"),
        ("--classes 0,2,3,4,5,6,7,8,9 --from-version 2", "--classes: ", "so that one class is retained"),
        (
            "--classes 2 --from-version 2 --dataset mnist",
            "--dataset: 'mnist' ",
            "models:/sa-cvae/2 was trained on it",
        ),
    ],
)
def test_a_start_that_does_not_fit_is_refused(
    shared_store: Store, capsys: pytest.CaptureFixture[str], words: str, option: str, allowed: str
) -> None:
    assert cli.main(["forget", "--dataset", "digits", *words.split()]) == 2
    line = capsys.readouterr().err
    assert line.startswith(f"sa-mlops: {option}")
    assert allowed in line
    assert line.count("\n") == 1


@pytest.mark.integration
@pytest.mark.parametrize("classes", ["1,2", "3,1"])
def test_a_sequence_never_forgets_a_class_twice(
    shared_store: Store, capsys: pytest.CaptureFixture[str], classes: str
) -> None:
    assert cli.main(["sequential", "--dataset", "digits", "--classes", classes, "--from-version", "2"]) == 2
    assert "classes that models:/sa-cvae/2 has not forgotten" in capsys.readouterr().err


class TestPictures:
    def test_any_size_and_colour_becomes_grey_28_by_28(self, tmp_path: Path) -> None:
        picture(tmp_path / "a.png", (100, 50), "RGB", 255)
        picture(tmp_path / "b.JPG", (3, 3), "L", 0)
        (tmp_path / "notes.txt").write_text("no picture")
        images, md5 = pictures.read(tmp_path, SHAPE, CPU)
        assert images is not None
        assert md5 is not None
        assert (images.shape, images.dtype) == ((2, 1, 28, 28), torch.float32)
        assert bool((images[0] == 1).all())
        assert bool((images[1] == 0).all())

    def test_the_hash_is_of_the_pictures(self, tmp_path: Path) -> None:
        picture(tmp_path / "a.png", (28, 28), value=100)
        first = pictures.read(tmp_path, SHAPE, CPU)[1]
        assert pictures.read(tmp_path, SHAPE, CPU)[1] == first
        picture(tmp_path / "a.png", (28, 28), value=101)
        assert pictures.read(tmp_path, SHAPE, CPU)[1] != first

    @pytest.mark.parametrize("content", [b"", b"text", b"\x89PNG\r\n\x1a\n" + b"\x00" * 50])
    def test_a_broken_picture_is_named(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "broken.png").write_bytes(content)
        with pytest.raises(ParameterError, match=r"--surrogate: .*broken\.png: (no picture|an empty)"):
            pictures.read(tmp_path, SHAPE, CPU)

    def test_a_folder_without_pictures_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ParameterError, match="with images"):
            pictures.read(tmp_path, SHAPE, CPU)

    def test_colour_stays_where_the_data_set_has_it(self, tmp_path: Path) -> None:
        Image.new("RGB", (9, 5), (255, 0, 51)).save(tmp_path / "a.png")
        images, _ = pictures.read(tmp_path, (3, 8, 12), CPU)
        assert images is not None
        assert images.shape == (1, 3, 8, 12)
        assert [round(float(channel.mean()), 4) for channel in images[0]] == [1.0, 0.0, 0.2]

    def test_pixels_keep_their_place(self, tmp_path: Path) -> None:
        pixels = np.arange(784, dtype=np.uint8).reshape(28, 28)
        Image.fromarray(pixels).save(tmp_path / "a.png")
        images, _ = pictures.read(tmp_path, SHAPE, CPU)
        assert images is not None
        np.testing.assert_array_equal((images[0, 0] * 255).round().numpy().astype(np.uint8), pixels)
