"""Valid pictures of every format, and damage done to them that leaves enough whole to get far; and whole ones whose
EXIF is odd, which must be read all the same."""

from __future__ import annotations

import random
import struct
import zlib
from functools import cache

from PIL import Image, ImageCms

from tests.support.exif_files import CARRIERS, odd_tiff, with_exif
from tests.support.heif_files import tiled_heic
from tests.support.pictures import encoded, faceless, with_orientation

_INTERESTING = [0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
# this part of the runs; of these files only the EXIF is odd
_ODD_EXIF = 0.2
MUST_BE_READ = ", odd EXIF"


def names() -> tuple[str, ...]:
    """Of all pictures that runs are made from."""
    return (*(name for name, _ in seeds()), *(kind + MUST_BE_READ for kind in CARRIERS))


@cache
def seeds() -> tuple[tuple[str, bytes], ...]:
    """By name; each a few kB, so that a run takes a millisecond."""
    photo = faceless(72, 48)
    clear = photo.convert("RGBA")
    clear.putalpha(99)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return (
        ("JPEG", encoded(photo)),
        ("JPEG progressive", encoded(photo, progressive=True, quality=60)),
        ("JPEG grey", encoded(photo.convert("L"))),
        ("JPEG CMYK", encoded(photo.convert("CMYK"))),
        ("JPEG turned, with profile", with_orientation(photo, 6, icc_profile=profile)),
        ("JPEG restarts", encoded(photo, restart_marker_blocks=2)),
        ("MPO", encoded(photo, "MPO", save_all=True, append_images=[faceless(36, 24)])),
        ("PNG", encoded(photo, "PNG")),
        ("PNG palette", encoded(photo.quantize(16), "PNG", transparency=3)),
        ("PNG alpha, with profile", encoded(clear, "PNG", icc_profile=profile)),
        ("PNG 16 bit", encoded(Image.new("I;16", (40, 40), 3000), "PNG")),
        ("PNG 1 bit, turned", with_orientation(photo.convert("1"), 8, "PNG")),
        ("WebP", encoded(photo, "WEBP")),
        ("WebP lossless", encoded(photo, "WEBP", lossless=True)),
        ("WebP alpha, turned", with_orientation(clear, 5, "WEBP")),
        ("HEIC", encoded(photo, "HEIF")),
        ("HEIC turned", with_orientation(photo, 6, "HEIF")),
        ("HEIC alpha", encoded(clear, "HEIF")),
        ("HEIC tiles", tiled_heic(2, 2, faceless(64, 64))),
    )


def mutated(index: int, seed: int) -> tuple[str, bytes]:
    """The file of one run, always the same for the same numbers, and the name of the picture it was made from."""
    rng = random.Random(f"{seed}:{index}")  # noqa: S311 - reproducible on purpose
    if rng.random() < _ODD_EXIF:
        kind = rng.choice(CARRIERS)
        return kind + MUST_BE_READ, with_exif(odd_tiff(rng), kind)
    name, data = seeds()[index % len(seeds())]
    body = bytearray(data)
    # formats made of counted parts fall apart when something is moved, before any decoder sees them
    whole = not name.startswith(("JPEG", "MPO")) and rng.random() < 0.75
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        rng.choice(_IN_PLACE if whole else _OPERATIONS)(rng, body)
    if name.startswith("PNG") and rng.random() < 0.9:
        _mend_checksums(body)
    return name, bytes(body)


def _place(rng: random.Random, body: bytearray) -> int:
    """Anywhere, and half of the time where headers lie."""
    return rng.randrange(min(len(body), 700 if rng.random() < 0.5 else len(body)) or 1)


def _flip(rng: random.Random, body: bytearray) -> None:
    for _ in range(rng.choice([1, 1, 4])):
        if body:
            body[_place(rng, body)] ^= 1 << rng.randrange(8)


def _number(rng: random.Random, body: bytearray) -> None:
    width = rng.choice([1, 2, 4])
    value = (rng.choice(_INTERESTING) + rng.randint(-1, 1)) & (256**width - 1)
    at = _place(rng, body)
    body[at : at + width] = value.to_bytes(width, rng.choice(["big", "little"]))


def _remove(rng: random.Random, body: bytearray) -> None:
    at = _place(rng, body)
    del body[at : at + rng.choice([1, 2, 4, 16, 200])]


def _repeat(rng: random.Random, body: bytearray) -> None:
    at = _place(rng, body)
    body[at:at] = body[at : at + rng.choice([1, 4, 16, 200])] * rng.choice([1, 1, 3, 50])


def _insert(rng: random.Random, body: bytearray) -> None:
    at = _place(rng, body)
    body[at:at] = rng.randbytes(rng.choice([1, 2, 4, 16, 64]))


def _splice(rng: random.Random, body: bytearray) -> None:
    other = rng.choice(seeds())[1]
    start, at, length = rng.randrange(len(other)), _place(rng, body), rng.choice([4, 16, 64])
    body[at : at + length] = other[start : start + length]


def _cut(rng: random.Random, body: bytearray) -> None:
    if rng.random() < 0.2:
        del body[_place(rng, body) :]


_IN_PLACE = [_flip, _flip, _flip, _number, _number, _splice]
_OPERATIONS = [*_IN_PLACE, _remove, _repeat, _insert, _cut]


def _mend_checksums(body: bytearray) -> None:
    at = 8
    while at + 12 <= len(body):
        end = at + 8 + struct.unpack_from(">I", body, at)[0]
        if end + 4 > len(body):
            return
        struct.pack_into(">I", body, end, zlib.crc32(body[at + 4 : end]))
        at = end + 4
