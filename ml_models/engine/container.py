"""What a picture's file is made of, read before a decoder sees it: where the picture ends, and what it will cost.

Nothing uploaded is kept or served, so a file that is a picture and a web page at once could harm nobody here; it is
refused because no camera makes one.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from functools import cache
from itertools import islice

from .errors import ImageTooLarge, UndecodableImage

REFUSED = "The picture could not be read. Send a JPEG, PNG, WebP or HEIC photo."
_DAMAGED = "The picture's file is damaged or not a plain photo."
# photos have some hundred; Pillow walks over a million empty ones in seconds
_MAX_PARTS = 20_000
_MAGIC = {
    "JPEG": re.compile(rb"\xff\xd8\xff"),
    "PNG": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "WEBP": re.compile(rb"RIFF....WEBP", re.DOTALL),
    "HEIF": re.compile(rb"....ftyp", re.DOTALL),
}
# a JPEG marker whose code is neither a stuffed zero nor a fill byte nor a restart inside the coded data
_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")
_SOI, _EOI, _TEM = 0xD8, 0xD9, 0x01
# a marker may have any number of fill bytes before it; decoders take them one by one
_LONG_FILL = b"\xff" * 65_536
# what a camera never writes behind its picture: archives, documents, programs, other pictures' and text's beginnings
_FOREIGN_START = re.compile(
    rb"\s*(PK|%PDF|GIF8|\x89PNG|RIFF|MZ|\x7fELF|Rar!|7z\xbc\xaf|\x1f\x8b|BZh|#!|[\t\n\r -~]{16})"
)
_FOREIGN = re.compile(rb"%PDF-|<(script|html|\?php|!doctype)", re.IGNORECASE)
# a ZIP's directory may have a comment of 64 kB behind it
_ZIP_TAIL_BYTES = 65_557
_PDF_HEAD_BYTES = 1024


def check(data: bytes) -> str:
    """Refuse a file that goes on after its picture, reads as another kind of file as well, or is in a million parts.

    Returns: JPEG, PNG, WEBP or HEIF.

    Raises:
        UndecodableImage
    """
    kind = next((kind for kind, magic in _MAGIC.items() if magic.match(data)), "")
    if not kind:
        raise UndecodableImage(REFUSED)
    rest = data[_last(_ENDS[kind](data)) :]
    # cameras put depth maps, gain maps, motion and their own notes behind a JPEG, and nothing behind the others
    foreign = _FOREIGN_START.match(rest) or _FOREIGN.search(rest) if kind == "JPEG" else rest.strip(b"\0")
    archive = b"PK\x05\x06" in data[-_ZIP_TAIL_BYTES:] and b"PK\x01\x02" in data
    if foreign or archive or b"%PDF-" in data[:_PDF_HEAD_BYTES]:
        raise UndecodableImage("The picture's file is something else besides a photo.")
    return kind


def _last(ends: Iterator[int]) -> int:
    """The last of the ends of a file's parts, of which there may not be too many."""
    first = list(islice(ends, _MAX_PARTS + 1))
    if not first or len(first) > _MAX_PARTS:
        raise UndecodableImage(_DAMAGED)
    return first[-1]


def _jpeg_ends(data: bytes) -> Iterator[int]:
    if _LONG_FILL in data:
        raise UndecodableImage(_DAMAGED)
    at = 2
    while marker := _MARKER.search(data, at):
        code, at = marker[1][0], marker.end()
        if code == _EOI:
            yield at
            return
        if code not in (_SOI, _TEM):
            # the coded data that follow a scan's header hold no marker that the pattern finds
            at += int.from_bytes(data[at : at + 2], "big")
        yield at
    raise UndecodableImage(_DAMAGED)


def _png_ends(data: bytes) -> Iterator[int]:
    at = 8
    while at + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        at += 12 + length
        yield at
        if name == b"IEND":
            return
    raise UndecodableImage(_DAMAGED)


def _webp_ends(data: bytes) -> Iterator[int]:
    end = 8 + int.from_bytes(data[4:8], "little")
    at = 12
    while at + 8 <= min(end, len(data)):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + size + size % 2
        yield at
    yield end + end % 2


def _heif_ends(data: bytes) -> Iterator[int]:
    return (end for _, _, end in _boxes(data, 0, len(data)))


_ENDS = {"JPEG": _jpeg_ends, "PNG": _png_ends, "WEBP": _webp_ends, "HEIF": _heif_ends}


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """The boxes of an ISO base media file between two offsets: (kind, where its content starts, where it ends)."""
    for _ in range(_MAX_PARTS):
        if start >= end:
            return
        if start + 8 > end:
            raise UndecodableImage(_DAMAGED)
        size, kind = struct.unpack_from(">I4s", data, start)
        head = 8
        if size == 1:
            size, head = int.from_bytes(data[start + 8 : start + 16], "big"), 16
        stop = end if size == 0 else start + size
        if size != 0 and (size < head or stop > end):
            raise UndecodableImage(_DAMAGED)
        yield kind, start + head, stop
        start = stop
    raise UndecodableImage(_DAMAGED)


# --- HEIC: tiles ------------------------------------------------------------------------------------------------------

# libheif decodes up to this many pixels of a tile, whatever small size the file gives for it
_MIN_TILE_PIXELS = 65_536
# beside the picture: its thumbnail, gain and depth maps, and the parts of tiles that stick out
_SPARE_PIXELS = 4_000_000
_MAX_DEPTH = 4


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
        raise UndecodableImage(_DAMAGED) from error
    if coded > 2 * width * height + _SPARE_PIXELS:
        raise ImageTooLarge(f"The picture's tiles have {coded} pixels, the picture {width * height}.")


def _coded_pixels(data: bytes) -> int:
    sizes: dict[int, int] = {}
    parts: dict[int, list[int]] = {}
    for kind, start, end in _boxes(data, 0, len(data)):
        if kind != b"meta":
            continue
        for inner, at, stop in _boxes(data, start + 4, end):
            if inner == b"iprp":
                sizes |= _sizes(data, at, stop)
            elif inner == b"iref":
                parts |= _parts(data, at, stop)
    children = {child for group in parts.values() for child in group}

    @cache
    def cost(item: int, depth: int) -> int:
        if depth > _MAX_DEPTH:
            raise UndecodableImage(_DAMAGED)
        if item not in parts:
            return max(sizes.get(item, 0), _MIN_TILE_PIXELS)
        return sum(cost(child, depth + 1) for child in parts[item])

    return sum(cost(item, 0) for item in (sizes.keys() | parts.keys()) - children)


def _parts(data: bytes, start: int, end: int) -> dict[int, list[int]]:
    """Which items an item is put together from (`iref`/`dimg`)."""
    width = 4 if data[start] else 2
    found: dict[int, list[int]] = {}
    for kind, at, stop in _boxes(data, start + 4, end):
        if kind == b"dimg":
            ids = [int.from_bytes(data[i : i + width], "big") for i in range(at + width + 2, stop, width)]
            found.setdefault(int.from_bytes(data[at : at + width], "big"), []).extend(ids)
    return found


def _sizes(data: bytes, start: int, end: int) -> dict[int, int]:
    """The pixels of every item that has a size (`ipco`/`ispe`, tied to it by `ipma`); of several the largest."""
    areas: list[int] = []
    found: dict[int, int] = {}
    for kind, at, stop in _boxes(data, start, end):
        if kind == b"ipco":
            for name, body, _ in _boxes(data, at, stop):
                width, height = struct.unpack_from(">II", data, body + 4) if name == b"ispe" else (0, 0)
                areas.append(width * height)
        elif kind == b"ipma":
            for item, properties in _associations(data, at):
                known = [areas[index - 1] for index in properties if 0 < index <= len(areas)]
                found[item] = max([found.get(item, 0), *known])
    return {item: area for item, area in found.items() if area}


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
