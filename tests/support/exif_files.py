"""EXIF blocks, made by hand so that they can be wrong, and pictures that carry them."""

from __future__ import annotations

import random
import struct
import zlib
from functools import cache

from tests.support.pictures import encoded, faceless

ORIENTATION, MAKE, STRIP_OFFSETS, X_RESOLUTION, RESOLUTION_UNIT = 0x0112, 0x010F, 0x0111, 0x011A, 0x0128
BYTE, ASCII, SHORT, LONG, RATIONAL, SSHORT, FLOAT, DOUBLE = 1, 2, 3, 4, 5, 8, 11, 12
CARRIERS = ("JPEG", "PNG", "WEBP", "HEIF")
_PLACE = b"MM\0*\0\0\0\x08" + b"\0" * 6 + b"\xa5" * 4096
_TAGS = [
    *(ORIENTATION, ORIENTATION, MAKE, STRIP_OFFSETS, X_RESOLUTION, RESOLUTION_UNIT),
    *(0x0100, 0x0103, 0x0110, 0x0117, 0x011B, 0x0132, 0x014A, 0x0201, 0x0202, 0x02BC, 0x8298, 0x83BB, 0x8649, 0x8769),
    *(0x8773, 0x8825, 0x9003, 0x9286, 0x927C, 0xA005, 0xA300, 0xB001, 0xC4A5, 0xEA1C, 0xFFFF),
]
_COUNTS = [0, 1, 1, 1, 1, 2, 3, 4, 5, 8, 100, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF]


def tiff(*entries: tuple[int, int, int, bytes], order: str = ">", following: int = 0) -> bytes:
    """One directory of (tag, type, count, four bytes of value or offset); `order` is struct's."""
    mark = b"MM\0*" if order == ">" else b"II*\0"
    body = b"".join(struct.pack(f"{order}HHI", tag, kind, count) + value for tag, kind, count, value in entries)
    return mark + struct.pack(f"{order}IH", 8, len(entries)) + body + struct.pack(f"{order}I", following)


def turned_by_90(order: str = ">") -> tuple[int, int, int, bytes]:
    """The entry of orientation 6."""
    return ORIENTATION, SHORT, 1, struct.pack(f"{order}HH", 6, 0)


def odd_tiff(rng: random.Random) -> bytes:
    """A TIFF structure as no camera writes it: types that do not fit their tags, counts without end, directories that
    lead to themselves, offsets behind the end; both byte orders. At most 4 kB."""
    order = rng.choice("<>")
    size = rng.choice([0, 8, 64, 400])
    entries = rng.choice([1, 2, 5, 12, 40])
    end = 14 + 12 * entries + size

    made = [
        (rng.choice(_TAGS), rng.choice([*range(19), 0xFFFF]), rng.choice(_COUNTS), _odd_value(rng, order, end))
        for _ in range(entries)
    ]
    if rng.random() < 0.7:
        made[rng.randrange(entries)] = turned_by_90(order)
    if rng.random() < 0.7:
        made.sort(key=lambda entry: entry[0])
    block = bytearray(tiff(*made, order=order, following=_odd_offset(rng, end)) + rng.randbytes(size))
    if rng.random() < 0.2:
        struct.pack_into(f"{order}I", block, 4, _odd_offset(rng, end))
    if rng.random() < 0.2:
        struct.pack_into(f"{order}H", block, 8, rng.choice([0, entries - 1, entries + 1, 0x7FFF, 0xFFFF]))
    if rng.random() < 0.1:
        del block[rng.randrange(len(block)) :]
    return bytes(block)


def _odd_offset(rng: random.Random, end: int) -> int:
    return rng.choice([0, 1, 8, 10, 14, rng.randrange(end), end - 1, end, end + 1, 2**31 - 1, 2**31, 2**32 - 1])


def _odd_value(rng: random.Random, order: str, end: int) -> bytes:
    what = rng.random()
    if what < 0.4:
        return struct.pack(f"{order}I", _odd_offset(rng, end))
    if what < 0.6:
        return struct.pack(f"{order}hh", rng.choice([-32768, -1, 0, 1, 3, 6, 8]), rng.choice([-1, 0, 1]))
    if what < 0.8:
        return struct.pack(f"{order}f", rng.choice([0.0, -1.0, 1e38, float("inf"), float("nan")]))
    return rng.randbytes(4)


def with_exif(block: bytes, kind: str = "JPEG") -> bytes:
    """A small picture of a kind that carries an EXIF block of at most 4 kB, whatever is in it."""
    plain = _plain(kind)
    if kind == "JPEG":
        part = b"Exif\0\0" + block
        return plain[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(part)) + part + plain[2:]
    if kind == "PNG":
        part = b"eXIf" + block
        return plain[:33] + struct.pack(">I", len(block)) + part + struct.pack(">I", zlib.crc32(part)) + plain[33:]
    at = plain.index(_PLACE)
    return plain[:at] + block.ljust(len(_PLACE), b"\0") + plain[at + len(_PLACE) :]


@cache
def _plain(kind: str) -> bytes:
    carries = {"exif": b"Exif\0\0" + _PLACE} if kind in ("WEBP", "HEIF") else {}
    return encoded(faceless(72, 48), kind, **carries)
