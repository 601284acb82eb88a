"""Picture files of all kinds come out as the eye sees them, or are named in one line."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sa_mlops.datasets import pictures
from sa_mlops.datasets.pictures import Look, PictureError

GREY = (1, 8, 8)


def test_16_bit_grey_is_scaled_by_its_range(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65_535, 64).reshape(8, 8).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    levels = pictures.read(tmp_path / "ramp.png", GREY)
    assert np.array_equal(levels[0], np.rint(ramp / 257).astype(np.uint8))
    assert pictures.look(tmp_path / "ramp.png") == Look(8, 8, 1)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_are_grey(tmp_path: Path, mode: str) -> None:
    clear = Image.new("RGBA", (8, 8), (255, 255, 255, 0)).convert(mode)
    clear.save(tmp_path / "clear.png", **({"transparency": 0} if mode == "P" else {}))
    assert (pictures.read(tmp_path / "clear.png", GREY) == 128).all()


def test_a_photo_on_its_side_is_turned(tmp_path: Path) -> None:
    photo = Image.new("L", (16, 8))
    photo.paste(255, (0, 0, 8, 8))
    exif = Image.Exif()
    exif[pictures.ORIENTATION] = 6  # its first row is the right side
    photo.save(tmp_path / "photo.png", exif=exif)
    assert pictures.look(tmp_path / "photo.png") == Look(8, 16, 1)
    upright = pictures.read(tmp_path / "photo.png", (1, 16, 8))[0]
    assert upright[:8].min() == 255
    assert upright[8:].max() == 0


@pytest.mark.parametrize(("grey", "channels"), [(True, 1), (False, 3)])
def test_a_palette_is_colour_if_it_holds_any(tmp_path: Path, grey: bool, channels: int) -> None:
    picture = Image.new("P", (8, 8))
    picture.putpalette([10, 10, 10, 200, 200, 200 if grey else 0])
    picture.save(tmp_path / "few.gif")
    assert pictures.look(tmp_path / "few.gif").channels == channels


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *more: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    rows = chunk(b"IDAT", zlib.compress(b"\0" * 72))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + rows + chunk(b"IEND", b"")


BROKEN = {
    "bomb": (png(60_000, 60_000), "bomb.png: more than .* pixels"),
    "text": (
        png(8, 8, chunk(b"zTXt", b"a\0\0" + zlib.compress(b"\0" * 2**22))),
        "text.png: Decompressed data",
    ),
    "empty": (b"", "empty.png: an empty file"),
    "words": (b"not a picture", "words.png: no picture"),
    "cut": (png(8, 8)[:44], "cut.png: "),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_cannot_be_read_is_named_in_one_line(tmp_path: Path, name: str) -> None:
    content, reason = BROKEN[name]
    (tmp_path / f"{name}.png").write_bytes(content)
    with pytest.raises(PictureError, match=reason) as caught:
        pictures.read(tmp_path / f"{name}.png", GREY)
    assert "\n" not in str(caught.value)


def test_only_picture_files_are_listed(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    for name in ("b.PNG", "a.jpeg", "._b.PNG", "notes.txt"):
        (tmp_path / name).touch()
    found, left_out = pictures.listed(tmp_path)
    assert [path.name for path in found] == ["a.jpeg", "b.PNG"]
    assert [line.split(":")[0] for line in left_out] == ["._b.PNG", "folder.png", "notes.txt"]
