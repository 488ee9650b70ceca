"""HEIC files made of many tiles, as phones write them: every tile is the same coded picture."""

import struct

from PIL import Image

from tests.support.pictures import encoded


def _box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def _full(kind: bytes, *parts: bytes, version: int = 0, flags: int = 0) -> bytes:
    return _box(kind, struct.pack(">I", version << 24 | flags), *parts)


def _inner(data: bytes, kind: bytes) -> bytes:
    """The first box of a kind, whole, wherever it is nested."""
    start = data.index(kind) - 4
    return data[start : start + struct.unpack(">I", data[start : start + 4])[0]]


def tiled_heic(
    rows: int,
    columns: int,
    tile: Image.Image,
    *,
    size: tuple[int, int] | None = None,
    turns: int = 0,
    behind: bytes = b"",
) -> bytes:
    """A grid of `rows` × `columns` tiles; `size` is what the file says that the whole picture measures, `turns` how
    often it is turned by 180°; `behind` stands behind the coded picture, which all tiles share."""
    single = encoded(tile, "HEIF", quality=50)
    coded = _inner(single, b"mdat")[8:] + behind
    width, height = size or (columns * tile.width, rows * tile.height)
    grid = struct.pack(">BBBBII", 0, 1, rows - 1, columns - 1, width, height)
    tiles = range(2, 2 + rows * columns)

    def infe(item: int, kind: bytes) -> bytes:
        return _full(b"infe", struct.pack(">HH4sx", item, 0, kind), version=2)

    def ispe(w: int, h: int) -> bytes:
        return _full(b"ispe", struct.pack(">II", w, h))

    def meta(offset: int) -> bytes:
        extents = [(1, offset, len(grid)), *((item, offset + len(grid), len(coded)) for item in tiles)]
        iloc = b"".join(struct.pack(">HHHII", item, 0, 1, at, length) for item, at, length in extents)
        links = [
            struct.pack(">HBB", 1, 1 + turns, 0x03) + b"\x84" * turns,
            *(struct.pack(">HBBB", item, 2, 0x81, 0x02) for item in tiles),
        ]
        return _full(
            b"meta",
            _full(b"hdlr", struct.pack(">I4s12xx", 0, b"pict")),
            _full(b"pitm", struct.pack(">H", 1)),
            _full(
                b"iinf", struct.pack(">H", 1 + len(tiles)), infe(1, b"grid"), *(infe(item, b"hvc1") for item in tiles)
            ),
            _full(b"iref", _box(b"dimg", struct.pack(f">HH{len(tiles)}H", 1, len(tiles), *tiles))),
            _box(
                b"iprp",
                _box(b"ipco", _inner(single, b"hvcC"), ispe(*tile.size), ispe(width, height), _box(b"irot", b"\2")),
                _full(b"ipma", struct.pack(">I", len(links)), *links),
            ),
            _full(b"iloc", struct.pack(">BBH", 0x44, 0, len(extents)), iloc),
        )

    ftyp = _box(b"ftyp", b"heic", struct.pack(">I", 0), b"mif1heic")
    head = ftyp + meta(0)
    return ftyp + meta(len(head) + 8) + _box(b"mdat", grid, coded)
