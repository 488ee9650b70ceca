"""What a picture's file is made of, read before a decoder sees it: which parts hold its pixels, and what it will cost.

The decoder gets those parts alone. What phones write besides, their notes, thumbnails, maps and movies, is left out,
so that nothing in it can refuse a picture, or stop the decoder. Nothing uploaded is kept or served, so a file that is a
picture and a web page at once could harm nobody here; it is refused because no camera makes one.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .errors import ImageTooLarge, UndecodableImage

REFUSED = "The picture could not be read. Send a JPEG, PNG, WebP or HEIC photo."
ANIMATED = "The picture is animated; send a single photo."
DAMAGED = "The picture's file is damaged or not a plain photo."
# photos have some hundred; Pillow walks over a million empty ones in seconds
MAX_PARTS = 20_000
_MAGIC = {
    "JPEG": re.compile(rb"\xff\xd8\xff"),
    "PNG": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "WEBP": re.compile(rb"RIFF....WEBP", re.DOTALL),
    "HEIF": re.compile(rb"....ftyp", re.DOTALL),
}
# what a client that wrote the file as text put before it: a byte order mark, blanks
_BLANKS = re.compile(rb"(\xef\xbb\xbf|[\t\n\r ]){1,16}")
# the beginnings of archives, documents, programs and other pictures, none of which a camera writes behind its own;
# whole, since makers' notes begin with any two letters, and recorded voices with "#!AMR"
_FOREIGN_START = re.compile(
    rb"\s*(PK[\x01-\x08]|Rar!|7z\xbc\xaf|\x1f\x8b|BZh[1-9]|\xfd7zXZ|MSCF|.{257}ustar"
    rb"|%PDF|%!PS|\{\\rtf|\xd0\xcf\x11\xe0|<svg"
    rb"|MZ|\x7fELF|#!\s*/|\xca\xfe\xba\xbe|[\xce\xcf]\xfa\xed\xfe|dex\n|GIF8|\x89PNG|RIFF)",
    re.DOTALL,
)
_FOREIGN = re.compile(rb"%PDF-|<(script|html|\?php|!doctype)", re.IGNORECASE)
# a ZIP's directory may have a comment of 64 kB behind it
_ZIP_TAIL_BYTES = 65_557
_PDF_HEAD_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Photo:
    """A picture's file, taken apart: `kind` is JPEG, PNG, WEBP or HEIF; `coded` the parts that a decoder needs, a file
    of that kind again, a JPEG always with an end marker; `exif` the first EXIF block, b"" where there is none (always
    for HEIF, whose decoder turns the picture by itself); `end` where the picture ends in the file; `in_layers` whether
    it is a JPEG whose pixels are known after several scans only, so that a decoder holds all coefficients."""

    kind: str
    coded: bytes
    end: int
    exif: bytes = b""
    in_layers: bool = False


def photo(data: bytes) -> Photo:
    """Take a picture's file apart.

    Raises:
        UndecodableImage: no picture, damaged, in a million parts, or another kind of file as well.
    """
    if blanks := _BLANKS.match(data):
        data = data[blanks.end() :]
    kind = next((kind for kind, magic in _MAGIC.items() if magic.match(data)), "")
    if not kind:
        raise UndecodableImage(REFUSED)
    apart = _PARTS[kind](data)
    rest = data[apart.end :]
    archive = b"PK\x05\x06" in data[-_ZIP_TAIL_BYTES:] and b"PK\x01\x02" in data
    if _FOREIGN_START.match(rest) or _FOREIGN.search(rest) or archive or b"%PDF-" in data[:_PDF_HEAD_BYTES]:
        raise UndecodableImage("The picture's file is something else besides a photo. Send the camera's own picture.")
    return apart


# --- JPEG -------------------------------------------------------------------------------------------------------------

# a marker whose code is neither a stuffed zero nor a fill byte nor a restart inside the coded data
_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")
_SOI, _EOI, _TEM, _SOS, _APP0, _APP1, _APP2, _APP14 = 0xD8, 0xD9, 0x01, 0xDA, 0xE0, 0xE1, 0xE2, 0xEE
# frames, tables, scans
_CODED = range(0xC0, _APP0)
# Baseline and extended, progressive. The others are lossless or arithmetic: phones do not write them, browsers do not
# read them, and arithmetic coding has no bound on what a byte may cost.
_FRAMES, _PROGRESSIVE = {b"\xc0", b"\xc1", b"\xc2"}, b"\xc2"
_FOREIGN_FRAMES = {bytes([code]) for code in range(0xC3, 0xD0)} - {b"\xc4", b"\xc8"}
# How many blocks of 8×8 numbers a decoder may go over in all scans together: 0.9 s at most. A scan can do so in a few
# bytes; the ten that encoders write go over 6 million in a picture of 50 megapixels.
_MAX_BLOCKS = 10_000_000
# a marker may have any number of fill bytes before it; decoders take them one by one
_LONG_FILL = b"\xff" * 65_536
# of the parts that applications write, those that say what the numbers mean as colours, and how long one is at least
_COLOURS = {_APP0: (b"JFIF\0", 14), _APP2: (b"ICC_PROFILE\0", 15), _APP14: (b"Adobe", 12)}


JPEG_END = b"\xff\xd9"


def _jpeg(data: bytes) -> Photo:
    if _LONG_FILL in data:
        raise UndecodableImage(DAMAGED)
    coded, exif, at, in_scan = [data[:2]], b"", 2, False
    for _ in range(MAX_PARTS):
        marker = _MARKER.search(data, at)
        # between two parts there is nothing but a scan's data
        if in_scan:
            coded.append(data[at : marker.start() if marker else len(data)])
        if not marker:
            break
        code, start, at = marker[1][0], marker.start(), marker.end()
        if code == _EOI:
            return _jpeg_photo(coded, b"".join([*coded, JPEG_END]), at, exif)
        in_scan = code == _SOS
        if code in (_SOI, _TEM):
            continue
        at += int.from_bytes(data[at : at + 2], "big")
        body = data[marker.end() + 2 : at]
        name, least = _COLOURS.get(code, (b"", 1 << 16))
        if code in _CODED or (body.startswith(name) and len(body) >= least):
            coded.append(data[start:at])
        elif code == _APP1 and not exif and body.startswith(b"Exif\0\0"):
            exif = body
    else:
        raise UndecodableImage(DAMAGED)
    if not in_scan or at > len(data):
        raise UndecodableImage(DAMAGED)
    # half an end marker and a whole one would make another
    return _jpeg_photo(coded, b"".join(coded).rstrip(b"\xff") + JPEG_END, len(data), exif)


def _jpeg_photo(parts: list[bytes], coded: bytes, end: int, exif: bytes) -> Photo:
    """The photo that these parts make.

    Raises:
        UndecodableImage: a frame that phones do not write.
        ImageTooLarge: scans that go over too many blocks.
    """
    heads = [part for part in parts if part[:1] == b"\xff"]
    codes = {head[1:2] for head in heads}
    frames = [head for head in heads if head[1:2] in _FRAMES]
    scans = [head for head in heads if head[1:2] == b"\xda"]
    if codes & _FOREIGN_FRAMES or len(frames) != 1:
        raise UndecodableImage(DAMAGED)
    blocks = _scanned_blocks(frames[0], scans)
    if blocks > _MAX_BLOCKS:
        raise ImageTooLarge("The picture is stored in too many layers for its size. Send the camera's own picture.")
    in_layers = _PROGRESSIVE in codes or any(scan[4:5] != frames[0][9:10] for scan in scans)
    return Photo("JPEG", coded, end, exif, in_layers)


def _scanned_blocks(frame: bytes, scans: list[bytes]) -> float:
    """How many blocks of 8×8 numbers a decoder goes over, of all scans together (ITU-T T.81, B.2.2 and B.2.3).

    A scan goes over all blocks of the colours that it names; a colour may be stored with fewer pixels than the picture.
    """
    height, width = int.from_bytes(frame[5:7], "big"), int.from_bytes(frame[7:9], "big")
    stored = dict(zip(frame[10::3], frame[11::3], strict=False))
    most = max((by >> 4 for by in stored.values()), default=1) * max((by & 15 for by in stored.values()), default=1)
    named = (stored.get(colour, 0) for scan in scans for colour in scan[5 : 5 + 2 * scan[4] : 2])
    return width * height / 64 / (most or 1) * sum((by >> 4) * (by & 15) for by in named)


# --- PNG, WebP --------------------------------------------------------------------------------------------------------

_PALETTE = 3
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_MAX_PROFILE_BYTES = 1_000_000
# how long a transparent colour is, by the colour type: grey, RGB
_TRANSPARENT_BYTES = {0: 2, 2: 6}


def _png(data: bytes) -> Photo:
    coded, exif, at = [data[:8]], b"", 8
    colours = data[25] if len(data) > 25 else 0
    for _ in range(MAX_PARTS):
        if at > len(data):
            break
        if at + 12 > len(data):
            # only the end is missing, or part of it: the decoder refuses pixels that are not all there
            return Photo("PNG", b"".join([*coded, _PNG_END]), len(data), exif)
        length, name = struct.unpack_from(">I4s", data, at)
        start, at = at, at + 12 + length
        body = data[start + 8 : at - 4]
        if name == b"eXIf":
            exif = exif or body
        elif name[:1].isupper() or (_is_whole(data[start:at]) and _says_colours(name, body, colours)):
            coded.append(data[start:at])
        elif name == b"acTL" and int.from_bytes(body[:4], "big") > 1 and _is_whole(data[start:at]):
            raise UndecodableImage(ANIMATED)
        if name == b"IEND":
            return Photo("PNG", b"".join(coded), at, exif)
    raise UndecodableImage(DAMAGED)


def _says_colours(name: bytes, body: bytes, colours: int) -> bool:
    """Whether a chunk beside the critical ones says what a colour means, so that a decoder can read it."""
    if name == b"tRNS":
        return len(body) <= 256 if colours == _PALETTE else len(body) == _TRANSPARENT_BYTES.get(colours)
    if name != b"iCCP":
        return False
    _, _, packed = body.partition(b"\0")
    unpacking = zlib.decompressobj()
    try:
        return packed[:1] == b"\0" and bool(unpacking.decompress(packed[1:], _MAX_PROFILE_BYTES)) and unpacking.eof
    except zlib.error:
        return False


def _is_whole(chunk: bytes) -> bool:
    return zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")


# what a decoder needs, the profile and the marks of an animation included
_WEBP_CODED = {b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ICCP", b"ANIM", b"ANMF"}
_WEBP_PARTS = {*_WEBP_CODED, b"EXIF", b"XMP "}


def _webp(data: bytes) -> Photo:
    # some editors leave the file's old length; its parts have their own
    said = 8 + int.from_bytes(data[4:8], "little")
    coded, exif, at = [b"WEBP"], b"", 12
    for _ in range(MAX_PARTS):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        is_part = name in _WEBP_PARTS or (at < said and name.isalnum())
        if at + 8 > len(data) or not is_part:
            file = b"".join(coded)
            return Photo("WEBP", b"RIFF" + len(file).to_bytes(4, "little") + file, at, exif)
        start, at = at, at + 8 + size + size % 2
        if name in _WEBP_CODED:
            # the last part's filling byte is often left out
            coded.append(data[start:at] + b"\0" * (at == len(data) + 1 and size % 2))
        elif name == b"EXIF":
            exif = exif or data[start + 8 : start + 8 + size]
    raise UndecodableImage(DAMAGED)


# --- HEIC -------------------------------------------------------------------------------------------------------------


def _heif(data: bytes) -> Photo:
    end, kinds = 0, set()
    try:
        for kind, _, stop in boxes(data, 0, len(data)):
            end = stop
            kinds.add(kind)
    except UndecodableImage:
        if not kinds >= {b"ftyp", b"meta", b"mdat"}:
            raise
    # what comes behind the last whole box is none of the picture's
    return Photo("HEIF", data[:end], end)


_PARTS: dict[str, Callable[[bytes], Photo]] = {"JPEG": _jpeg, "PNG": _png, "WEBP": _webp, "HEIF": _heif}


def boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """The boxes of an ISO base media file between two offsets: (kind, where its content starts, where it ends)."""
    for _ in range(MAX_PARTS):
        if start >= end:
            return
        if start + 8 > end:
            raise UndecodableImage(DAMAGED)
        size, kind = struct.unpack_from(">I4s", data, start)
        head = 8
        if size == 1:
            size, head = int.from_bytes(data[start + 8 : start + 16], "big"), 16
        stop = end if size == 0 else start + size
        if size != 0 and (size < head or stop > end):
            raise UndecodableImage(DAMAGED)
        yield kind, start + head, stop
        start = stop
    raise UndecodableImage(DAMAGED)
