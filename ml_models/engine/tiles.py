"""What the tiles of a HEIC cost a decoder, told by the file's index before a decoder sees it."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from functools import cache

from .container import DAMAGED, MAX_PARTS, boxes
from .errors import ImageTooLarge, UndecodableImage

# libheif decodes up to this many pixels of a tile, whatever small size the file gives for it
_MIN_TILE_PIXELS = 65_536
# beside the picture: its thumbnail, gain and depth maps, and the parts of tiles that stick out
_SPARE_PIXELS = 4_000_000
_MAX_DEPTH = 4
# Of one item; pictures have some ten. Among them are turns, each of which takes as long as any picture's.
_MAX_PROPERTIES = 32
# beside the file: what items may share of it
_SHARED_BYTES = 16_000_000


def check_tiles(data: bytes, width: int, height: int) -> None:
    """Refuse a HEIC whose tiles have far more pixels than the picture that they make.

    A file of 100 kB can say that it is small, and have the decoder work for half a minute on what is then cut away.

    Raises:
        ImageTooLarge: it has.
        UndecodableImage: the file's index cannot be followed.
    """
    try:
        coded = _coded_pixels(data)
    except (struct.error, RecursionError) as error:
        raise UndecodableImage(DAMAGED) from error
    if coded > 2 * width * height + _SPARE_PIXELS:
        raise ImageTooLarge(f"The picture's tiles have {coded} pixels, the picture {width * height}.")


def _coded_pixels(data: bytes) -> int:
    sizes: dict[int, int] = {}
    parts: dict[int, list[int]] = {}
    for kind, start, end in boxes(data, 0, len(data)):
        if kind != b"meta":
            continue
        for inner, at, stop in boxes(data, start + 4, end):
            if inner == b"iprp":
                sizes |= _sizes(data, at, stop)
            elif inner == b"iref":
                parts |= _parts(data, at, stop)
            elif inner == b"iloc":
                _require_own_bytes(data, at)
    children = {child for group in parts.values() for child in group}

    @cache
    def cost(item: int, depth: int) -> int:
        if depth > _MAX_DEPTH:
            raise UndecodableImage(DAMAGED)
        if item not in parts:
            return max(sizes.get(item, 0), _MIN_TILE_PIXELS)
        return sum(cost(child, depth + 1) for child in parts[item])

    return sum(cost(item, 0) for item in (sizes.keys() | parts.keys()) - children)


def _require_own_bytes(data: bytes, at: int) -> None:
    """Refuse items that share what lies in the file (`iloc`): each of them is read and decoded by itself."""
    version, sizes = data[at], int.from_bytes(data[at + 4 : at + 6], "big")
    offset, length, base, index = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15, (sizes & 15) * (version > 0)
    width = 4 if version > 1 else 2
    count, at = int.from_bytes(data[at + 6 : at + 6 + width], "big"), at + 6 + width
    coded = parts = 0
    for _ in range(count):
        at += width + 2 * (version > 0) + 2 + base
        extents, at = int.from_bytes(data[at : at + 2], "big"), at + 2
        for _ in range(extents):
            at += index + offset + length
            coded += int.from_bytes(data[at - length : at], "big") or len(data)
        parts += 1 + extents
        if coded > len(data) + _SHARED_BYTES or parts > MAX_PARTS:
            raise UndecodableImage(DAMAGED)


def _parts(data: bytes, start: int, end: int) -> dict[int, list[int]]:
    """Which items an item is put together from (`iref`/`dimg`)."""
    width = 4 if data[start] else 2
    items: dict[int, list[int]] = {}
    for kind, at, stop in boxes(data, start + 4, end):
        if kind == b"dimg":
            ids = [int.from_bytes(data[i : i + width], "big") for i in range(at + width + 2, stop, width)]
            items.setdefault(int.from_bytes(data[at : at + width], "big"), []).extend(ids)
    return items


def _sizes(data: bytes, start: int, end: int) -> dict[int, int]:
    """The pixels of every item that has a size (`ipco`/`ispe`, tied to it by `ipma`); of several the largest."""
    areas: list[int] = []
    items: dict[int, int] = {}
    linked = Counter[int]()
    for kind, at, stop in boxes(data, start, end):
        if kind == b"ipco":
            for name, body, _ in boxes(data, at, stop):
                width, height = struct.unpack_from(">II", data, body + 4) if name == b"ispe" else (0, 0)
                areas.append(width * height)
        elif kind == b"ipma":
            for item, properties in _associations(data, at):
                linked[item] += len(properties)
                if linked[item] > _MAX_PROPERTIES:
                    raise UndecodableImage(DAMAGED)
                known = [areas[index - 1] for index in properties if 0 < index <= len(areas)]
                items[item] = max([items.get(item, 0), *known])
    return {item: area for item, area in items.items() if area}


def _associations(data: bytes, at: int) -> Iterator[tuple[int, list[int]]]:
    wide_ids, wide_indexes = data[at] >= 1, data[at + 3] & 1
    (count,) = struct.unpack_from(">I", data, at + 4)
    at += 8
    for _ in range(count):
        item, number = struct.unpack_from(">IB" if wide_ids else ">HB", data, at)
        at += 5 if wide_ids else 3
        indexes = struct.unpack_from(f">{number}{'H' if wide_indexes else 'B'}", data, at)
        at += number * (2 if wide_indexes else 1)
        yield item, [index & (0x7FFF if wide_indexes else 0x7F) for index in indexes]
