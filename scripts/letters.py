"""Draw the letters A to Z from installed fonts as test images, a folder per class: `python scripts/letters.py FOLDER`.

Debian has the fonts: `apt-get install fonts-dejavu fonts-liberation fonts-lato fonts-open-sans fonts-texgyre ...`. The
same fonts, options and seed give the same images.
"""

from __future__ import annotations

import argparse
import colorsys
import random
import string
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

FONTS = Path("/usr/share/fonts")
SUFFIXES = (".ttf", ".otf", ".t1")
SYMBOLS = ("symbol", "dingbat", "emoji", "math", "braille", "mupdf", "d050000l", "hebrew", "arabic")
"""Words in the names of fonts whose Latin letters, if any, are no letters of this design."""


def usable(path: Path, size: int) -> ImageFont.FreeTypeFont | None:
    """The font at a height in pixels; None if it draws two equal letters, or one without ink."""
    if any(word in path.name.lower() for word in SYMBOLS):
        return None
    try:
        font = ImageFont.truetype(str(path), size)
        masks = [bytes(font.getmask(letter)) for letter in string.ascii_uppercase]
    except OSError:
        return None
    return font if len(set(masks)) == len(masks) and all(map(any, masks)) else None


def drawn(
    letter: str, font: ImageFont.FreeTypeFont, side: int, chance: random.Random, tint: bool
) -> Image.Image:
    """A white or tinted letter on black, turned by at most 8 degrees and moved by at most a twelfth of the side."""
    left, top, right, bottom = font.getbbox(letter)
    canvas = Image.new("L", (2 * side, 2 * side))
    place = (side - (left + right) / 2, side - (top + bottom) / 2)
    ImageDraw.Draw(canvas).text(place, letter, fill=255, font=font)
    canvas = canvas.rotate(chance.uniform(-8, 8), Image.Resampling.BICUBIC)
    extent = canvas.getbbox() or (0, 0, 1, 1)
    largest = max(extent[2] - extent[0], extent[3] - extent[1])
    reach = side / 12
    window = max(side, largest + 2) / 2
    x, y = (side + chance.uniform(-reach, reach) for _ in range(2))
    box = (x - window, y - window, x + window, y + window)
    image = canvas.resize((side, side), Image.Resampling.BICUBIC, box=box)
    if not tint:
        return image
    inks = [round(255 * c) for c in colorsys.hsv_to_rgb(chance.random(), chance.uniform(0.6, 1), 1)]
    return Image.merge("RGB", [image.point(lambda v, ink=ink: v * ink // 255) for ink in inks])


def main() -> None:
    """Write FOLDER/A/FONT-NUMBER.png to FOLDER/Z/..."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder to write; it must not exist")
    parser.add_argument("--side", type=int, default=32, help="pixels a side (default: 32)")
    parser.add_argument("--images", type=int, default=500, help="images a letter (default: 500)")
    parser.add_argument("--letters", default=string.ascii_uppercase, help="letters to draw (default: all)")
    parser.add_argument("--fonts", type=Path, default=FONTS, help=f"folder of font files (default: {FONTS})")
    parser.add_argument("--tint", action="store_true", help="a random hue for each letter: RGB images")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    paths = sorted(p for p in args.fonts.rglob("*") if p.suffix.lower() in SUFFIXES)
    size = args.side * 3 // 4
    fonts = [(p.stem, font) for p in paths if (font := usable(p, size)) is not None]
    if not fonts:
        parser.error(f"no font in {args.fonts}")
    chance = random.Random(args.seed)
    chance.shuffle(fonts)
    args.folder.mkdir(parents=True)
    for letter in args.letters:
        (args.folder / letter).mkdir()
        for number in range(args.images):
            name, font = fonts[number % len(fonts)]
            image = drawn(letter, font, args.side, chance, args.tint)
            image.save(args.folder / letter / f"{name}-{number:05d}.png")
    print(f"{args.folder}: {len(args.letters)} letters, {args.images} images each, from {len(fonts)} fonts")


if __name__ == "__main__":
    main()
