"""The data: pinned, pulled from the remote inside the checkout, and never believed before it is verified."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from stores import ROOT, Start, Store

from sa_mlops import cli, datasets
from sa_mlops.datasets import fashion_mnist
from sa_mlops.datasets import pin as data
from sa_mlops.datasets.pin import DataError

MD5 = "126198369362df7c54984cf13f63be96.dir"
IMAGES = "data/MNIST/raw/t10k-labels-idx1-ubyte"
CPU = torch.device("cpu")


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout as a tarball gives it: the pin and the remote; no git, no cache, no data."""
    root = tmp_path / "checkout"
    (root / ".dvc").mkdir(parents=True)
    for name in ("data.dvc", "MLproject"):
        shutil.copy(ROOT / name, root)
    shutil.copy(ROOT / ".dvc" / "config", root / ".dvc")
    shutil.copytree(ROOT / ".dvc" / "bundled", root / ".dvc" / "bundled")
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def pulled(bare: Path) -> Path:
    assert cli.main(["data"]) == 0
    return bare


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[..., data.Pin]:
    """Makes a checkout that pins two small files, with what its listing says about them."""

    def make(listing: object = None, *, honest: bool = True) -> data.Pin:
        contents = {"a.txt": b"first", "b/c.txt": b"second"}
        for name, content in contents.items():
            path = tmp_path / "things" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        if listing is None:
            listing = [{"md5": md5(content), "relpath": name} for name, content in contents.items()]
        text = json.dumps(listing).encode()
        digest = md5(text) if honest else "0" * 32
        path = tmp_path / ".dvc" / "bundled" / "files" / "md5" / digest[:2] / f"{digest[2:]}.dir"
        path.parent.mkdir(parents=True)
        path.write_bytes(text)
        out = {"md5": f"{digest}.dir", "size": 11, "nfiles": 2, "hash": "md5", "path": "things"}
        (tmp_path / "data.dvc").write_text(yaml.safe_dump({"outs": [out]}))
        return data.read_pin(tmp_path)

    return make


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.main(arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


class TestPin:
    def test_the_pin_is_the_one_that_was_promised(self) -> None:
        pin = data.read_pin(ROOT)
        assert (pin.md5, pin.size, pin.path) == (MD5, 54_950_048, ROOT / "data")

    def test_the_remote_in_the_checkout_has_every_pinned_file(self, bare: Path) -> None:
        files = data.listing(data.read_pin(bare))
        assert files is not None
        assert {f.name for f in files} == {
            f"MNIST/raw/{split}-{kind}-ubyte"
            for split in ("train", "t10k")
            for kind in ("images-idx3", "labels-idx1")
        }
        objects = bare / ".dvc" / "bundled" / "files" / "md5"
        assert all((objects / f.md5[:2] / f.md5[2:]).is_file() for f in files)

    def test_dvc_finds_mnist_beside_a_default_remote_of_the_user(self, bare: Path) -> None:
        (bare / ".dvc" / "config.local").write_text(
            "[core]\n    remote = store\n['remote \"store\"']\n    url = ../store\n"
        )
        with data.repository(bare) as repo:
            assert repo.config["core"]["remote"] == "store"
            repo.pull(targets=["data.dvc"])
        assert data.verify(data.read_pin(bare))

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "outs: []",
            "outs: [{md5: abc, size: 1, path: data}]",
            "outs: [{md5: 126198369362df7c54984cf13f63be96, size: 1, path: data}]",
            f"outs: [{{md5: {MD5}, size: many, path: data}}]",
            f"outs: [{{md5: {MD5}, size: 1, path: ../data}}]",
            f"outs: [{{md5: {MD5}, size: 1, path: /data}}]",
            f"outs: [{{md5: {MD5}, size: 1, path: ..}}]",
            "outs: [",
            "!!python/object/apply:os.system [echo]",
        ],
    )
    def test_a_pin_that_cannot_be_understood_is_refused(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "data.dvc").write_text(text)
        with pytest.raises(DataError, match=r"git checkout data\.dvc"):
            data.read_pin(tmp_path)

    def test_the_project_is_found_from_a_folder_inside_it(
        self, bare: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        inside = bare / "notebooks" / "deep"
        inside.mkdir(parents=True)
        monkeypatch.chdir(inside)
        assert data.project_root() == bare

    @pytest.mark.parametrize("words", [("data",), ("data", "--repair"), ("base",)])
    def test_another_projects_pin_is_refused_and_nothing_of_it_changes(
        self, bare: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
    ) -> None:
        (bare / "MLproject").unlink()
        (bare / "data").mkdir()
        (bare / "data" / "edit.csv").write_text("not saved yet")
        assert "data.dvc belongs to another project" in refusal(capsys, *words)
        assert [p.name for p in (bare / "data").iterdir()] == ["edit.csv"]


class TestListing:
    def test_files_that_agree_are_returned(self, tiny: Callable[..., data.Pin]) -> None:
        assert {f.name for f in data.verify(tiny())} == {"a.txt", "b/c.txt"}

    def test_one_that_does_not_hash_to_the_pin_is_not_believed(self, tiny: Callable[..., data.Pin]) -> None:
        pin = tiny(honest=False)
        assert data.listing(pin) is None
        with pytest.raises(DataError, match="--repair"):
            data.verify(pin)

    @pytest.mark.parametrize("name", ["../outside", "a/../../outside", "/etc/hostname"])
    def test_a_path_that_leaves_the_folder_is_refused(self, tiny: Callable[..., data.Pin], name: str) -> None:
        pin = tiny([{"md5": md5(b""), "relpath": name}])
        with pytest.raises(DataError, match="outside things/"):
            data.verify(pin)

    @pytest.mark.parametrize(
        "listing", [{}, [1], [{"md5": "0" * 32}], "text", [{"relpath": "a.txt", "md5": None}]]
    )
    def test_one_of_another_shape_is_a_data_error(
        self, tiny: Callable[..., data.Pin], listing: object
    ) -> None:
        with pytest.raises(DataError):
            data.verify(tiny(listing))


@pytest.mark.integration
class TestPull:
    def test_a_tarball_pulls_everything_without_git_and_without_a_network(
        self, bare: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main(["data", "--json"]) == 0
        out, err = capsys.readouterr()
        document = json.loads(out)
        assert err == ""
        assert document["pin"] == MD5
        assert sum(f["bytes"] for f in document["files"]) == 54_950_048
        assert all(md5((bare / f["path"]).read_bytes()) == f["md5"] for f in document["files"])

    def test_nothing_but_the_pinned_files_lies_in_the_folder(self, pulled: Path) -> None:
        assert len([p for p in (pulled / "data").rglob("*") if p.is_file()]) == 4

    def test_processes_that_pull_at_once_all_succeed(self, bare: Path, start: Start) -> None:
        processes = [start("-m", "sa_mlops", "data") for _ in range(2)]
        assert [p.wait(timeout=200) for p in processes] == [0, 0]

    def test_a_remote_that_lacks_a_file_is_one_line(
        self, bare: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for path in (bare / ".dvc" / "bundled" / "files" / "md5" / "a2").iterdir():
            path.unlink()
        assert "data.dvc cannot be pulled" in refusal(capsys, "data")


def remove(path: Path) -> None:
    path.unlink()


def truncate(path: Path) -> None:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[: len(content) // 2])


def alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.unlink()
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.unlink()
    path.write_bytes(b"")


def poison(path: Path) -> None:
    """Alter the file and the object in DVC's cache that it would be repaired from."""
    digest = md5(path.read_bytes())
    alter(path)
    object_ = Path(".dvc/cache/files/md5") / digest[:2] / digest[2:]
    object_.chmod(0o644)
    object_.unlink()
    shutil.copy(path, object_)


@pytest.mark.integration
class TestDamage:
    @pytest.mark.parametrize("damage", [truncate, alter, empty])
    def test_a_changed_file_is_named_with_both_hashes_and_the_repair(
        self, pulled: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], None]
    ) -> None:
        expected = md5((pulled / IMAGES).read_bytes())
        damage(pulled / IMAGES)
        found = md5((pulled / IMAGES).read_bytes())
        capsys.readouterr()
        line = refusal(capsys, "data")
        assert f"{IMAGES}: altered (expected md5 {expected}, found {found})" in line
        assert "`sa-mlops data --repair`" in line

    def test_a_missing_file_is_named_with_its_hash_and_the_repair(
        self, pulled: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        expected = md5((pulled / IMAGES).read_bytes())
        remove(pulled / IMAGES)
        capsys.readouterr()
        line = refusal(capsys, "data")
        assert f"{IMAGES}: missing (expected md5 {expected}, found no file)" in line
        assert "`sa-mlops data --repair`" in line

    def test_nothing_trains_on_altered_data(
        self, pulled: Path, shared_store: Store, capsys: pytest.CaptureFixture[str]
    ) -> None:
        alter(pulled / IMAGES)
        capsys.readouterr()
        assert "altered" in refusal(capsys, "base", "--steps", "1")

    @pytest.mark.parametrize("damage", [remove, truncate, alter, empty, poison])
    def test_repair_brings_the_pinned_file_back(self, pulled: Path, damage: Callable[[Path], None]) -> None:
        expected = (pulled / IMAGES).read_bytes()
        damage(pulled / IMAGES)
        assert cli.main(["data"]) == 1
        assert cli.main(["data", "--repair"]) == 0
        assert (pulled / IMAGES).read_bytes() == expected
        assert cli.main(["data"]) == 0

    def test_repair_leaves_files_that_are_not_pinned_and_lists_them(
        self, pulled: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (pulled / "data" / "mine.csv").write_text("a result")
        remove(pulled / IMAGES)
        capsys.readouterr()
        assert cli.main(["data", "--repair"]) == 0
        assert "not pinned, left alone: mine.csv" in capsys.readouterr().out
        assert (pulled / "data" / "mine.csv").read_text() == "a result"

    def test_repair_renames_a_folder_that_stands_where_a_file_was(self, pulled: Path) -> None:
        remove(pulled / IMAGES)
        (pulled / IMAGES).mkdir()
        (pulled / IMAGES / "mine.csv").write_text("a result")
        assert cli.main(["data", "--repair"]) == 0
        assert (pulled / IMAGES).is_file()
        (moved,) = (pulled / IMAGES).parent.glob("t10k-labels-idx1-ubyte.*/mine.csv")
        assert moved.read_text() == "a result"

    def test_a_listing_altered_in_the_cache_falls_back_to_the_remote(self, pulled: Path) -> None:
        path = pulled / ".dvc" / "cache" / "files" / "md5" / MD5[:2] / MD5[2:]
        path.chmod(0o644)
        path.write_text("[]")
        assert cli.main(["data"]) == 0


@pytest.mark.parametrize(
    ("name", "train", "test"),
    [("mnist", 60_000, 10_000), ("fashion-mnist", 60_000, 10_000), ("digits", 1_437, 360)],
)
def test_images_are_float32_in_zero_to_one_with_a_label_each(name: str, train: int, test: int) -> None:
    if name == "fashion-mnist" and not fashion_mnist.FOLDER.is_dir():
        pytest.skip(f"needs Debian's package {fashion_mnist.PACKAGE}")
    loaded = datasets.load(name, CPU)
    for images, labels, count in (
        (loaded.train_images, loaded.train_labels, train),
        (loaded.test_images, loaded.test_labels, test),
    ):
        assert (images.shape, len(images)) == ((count, 1, 28, 28), count)
        parts = list(images.split(1000))
        assert {part.dtype for part in parts} == {torch.float32}
        assert torch.equal(parts[0], images[torch.arange(min(count, 1000))])
        assert (min(float(p.min()) for p in parts), max(float(p.max()) for p in parts)) == (0.0, 1.0)
        assert (labels.shape, labels.dtype) == ((count,), torch.int64)
        assert labels.unique().tolist() == list(range(10))


def test_mnist_carries_the_pin() -> None:
    assert datasets.load("mnist", CPU).md5 == MD5


def test_mnist_has_the_published_first_labels() -> None:
    loaded = datasets.load("mnist", CPU)
    assert loaded.train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert loaded.test_labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]


def test_digits_are_the_same_every_time_and_share_no_image_between_splits() -> None:
    one, two = datasets.load("digits", CPU), datasets.load("digits", CPU)
    assert one.md5 == two.md5
    assert torch.equal(one.train_images, two.train_images)
    train = {row.numpy().tobytes() for row in one.train_images}
    assert not any(row.numpy().tobytes() in train for row in one.test_images)
