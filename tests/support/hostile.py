"""Files that were made to hurt, each with the code it must be refused with; None where it is a picture after all."""

import io
import struct
import zipfile
import zlib

from PIL import Image, ImageCms

from tests.support.heif_files import tiled_heic
from tests.support.pictures import encoded, faceless

MIB = 1 << 20


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_bomb(width: int, height: int) -> bytes:
    """A flat picture: 60 megapixels of it compress to some 60 kB."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    press = zlib.compressobj(9)
    row = bytes(1 + 3 * width)
    body = b"".join(press.compress(row) for _ in range(height)) + press.flush()
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def jpeg_with_comment(size: int) -> bytes:
    picture = encoded(faceless())
    part = b"\xff\xfe" + struct.pack(">H", 65_535) + bytes(65_533)
    return picture[:2] + part * (size // 65_537) + picture[2:]


def _part(code: int, body: bytes) -> bytes:
    return bytes([0xFF, code]) + struct.pack(">H", 2 + len(body)) + body


def _jpeg(code: int, size: tuple[int, int], colours: int, ends: int, scans: bytes) -> bytes:
    """A flat JPEG: a bit for each block's middle, and one that says `ends`."""
    frame = struct.pack(">BHHB", 8, *reversed(size), colours)
    frame += b"".join(bytes([colour, 0x11, 0]) for colour in range(colours))
    tables = _part(0xDB, b"\0" + b"\1" * 64) + _part(0xC4, b"\0\1" + bytes(16))
    tables += _part(0xC4, b"\x10\1" + bytes(15) + bytes([ends]))
    return b"\xff\xd8" + tables + _part(code, frame) + scans + b"\xff\xd9"


def jpeg_of_scans(width: int, height: int, scans: int) -> bytes:
    """Progressive and grey; each scan but one is of some bytes, and says of the whole picture that nothing changes."""
    blocks = -(-width // 8) * -(-height // 8)
    # 0 and 14 bits: of how many blocks more than 2**14
    runs = ("0" + "1" * 13 + "0") * -(-blocks // (2**15 - 2))
    nothing = int(runs + "0" * (-len(runs) % 8), 2).to_bytes(-(-len(runs) // 8), "big").replace(b"\xff", b"\xff\0")
    first = _part(0xDA, b"\1\0\0\0\0\0") + bytes(blocks // 8 + 1)
    return _jpeg(0xC2, (width, height), 1, 0xE0, first + (_part(0xDA, b"\1\0\0\1\x3f\0") + nothing) * (scans - 1))


def jpeg_of_colours(width: int, height: int) -> bytes:
    """Not progressive; the colours come one after the other."""
    blocks = -(-width // 8) * -(-height // 8)
    scans = (_part(0xDA, bytes([1, colour, 0, 0, 63, 0])) + bytes(blocks // 4 + 1) for colour in range(3))
    return _jpeg(0xC0, (width, height), 3, 0, b"".join(scans))


def profile_of_steps(steps: int) -> bytes:
    """A colour profile with a chain of steps, all of them the same table of eight colours."""
    corners = [float(colour >> shift & 1) for colour in range(8) for shift in (2, 1, 0)]
    table = b"clut\0\0\0\0" + struct.pack(">HH16s24f", 3, 3, b"\2" * 16, *corners)
    chain = struct.pack(">4s4xHHI", b"mpet", 3, 3, steps)
    chain += struct.pack(">II", len(chain) + 8 * steps, len(table)) * steps + table
    whole = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    # in place of a text, which nothing needs
    struct.pack_into(">4sII", whole, whole.index(b"cprt", 132), b"D2B0", len(whole), len(chain))
    whole += chain
    struct.pack_into(">I", whole, 0, len(whole))
    whole[8] = 4
    return bytes(whole)


def animation(fmt: str) -> bytes:
    frames = [Image.new("RGB", (64, 64), (shade, 0, 0)) for shade in (0, 99, 200)]
    buffer = io.BytesIO()
    frames[0].save(buffer, fmt, save_all=True, append_images=frames[1:], duration=50)
    return buffer.getvalue()


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        made.writestr("index.html", "<script>alert(1)</script>")
    return buffer.getvalue()


def hostile() -> dict[str, tuple[bytes, str | None]]:
    photo, png = encoded(faceless()), encoded(faceless(), "PNG")
    tile = faceless(352, 352)
    noise = encoded(Image.effect_noise((2400, 2400), 100), quality=95, progressive=True)
    return {
        "a 60-megapixel PNG": (png_bomb(10_000, 6_000), "image_too_large"),
        "a PNG just under the cap": (png_bomb(5_000, 4_990), None),
        "a PNG with a palette and a transparent colour, just under the cap": (
            encoded(Image.new("P", (5_000, 4_990)), "PNG", transparency=0),
            None,
        ),
        "50 MB of a JPEG": (photo + bytes(50 * MIB), "image_too_large"),
        "text named .jpg": (b"I am a picture, honestly.\n" * 100, "undecodable_image"),
        "an empty file": (b"", "undecodable_image"),
        "an animated GIF": (animation("GIF"), "undecodable_image"),
        "an animated PNG": (animation("PNG"), "undecodable_image"),
        "an animated WebP": (animation("WEBP"), "undecodable_image"),
        "a JPEG with a comment of 100 MB": (jpeg_with_comment(100 * MIB), "image_too_large"),
        "a JPEG with a comment of 11 MB": (jpeg_with_comment(11 * MIB), None),
        "a progressive JPEG of 50 megapixels, whole colours": (
            encoded(Image.new("RGB", (8192, 6144)), progressive=True, subsampling=0),
            "image_too_large",
        ),
        "a HEIC of 200 tiles": (tiled_heic(10, 20, faceless(256, 256)), None),
        "a HEIC of 200 tiles, too large": (tiled_heic(10, 20, faceless(512, 512)), "image_too_large"),
        "a HEIC of 200 tiles that says it is small": (tiled_heic(10, 20, tile, size=(64, 64)), "image_too_large"),
        "a JPEG of a million parts": (photo[:2] + b"\xff\xfe\0\2" * 2_900_000 + photo[2:], "undecodable_image"),
        "a PNG of a million parts": (png[:33] + _chunk(b"teSt", b"") * 950_000 + png[33:], "undecodable_image"),
        "a JPEG of 4,000 scans": (jpeg_of_scans(5000, 4990, 4000), "image_too_large"),
        "a JPEG of 30 scans": (jpeg_of_scans(5000, 4990, 30), "image_too_large"),
        "a JPEG of 25 scans": (jpeg_of_scans(5000, 4990, 25), None),
        "a small JPEG of 4,000 scans": (jpeg_of_scans(320, 240, 4000), None),
        "a JPEG in layers of 5 MB and some bytes too many": (
            noise[:-2] + b"\x55" * 99 + noise[-2:],
            "undecodable_image",
        ),
        "a JPEG of 108 megapixels whose colours come one after the other": (
            jpeg_of_colours(12_032, 9_024),
            "image_too_large",
        ),
        "a JPEG with a profile of 60,000 steps": (encoded(faceless(), icc_profile=profile_of_steps(60_000)), None),
        "a HEIC of 12 megapixels that is turned 254 times": (
            tiled_heic(3, 4, faceless(1024, 1024), turns=254),
            "undecodable_image",
        ),
        "a HEIC of 200 tiles that share 100,000 units that say nothing": (
            tiled_heic(10, 20, faceless(256, 256), behind=b"\0\0\0\2\x52\1" * 100_000),
            "undecodable_image",
        ),
        "a JPEG with a long fill": (photo[:-2] + b"\xff" * 11 * MIB + photo[-2:], "undecodable_image"),
    }


def polyglots() -> dict[str, bytes]:
    photo, png, webp = encoded(faceless()), encoded(faceless(), "PNG"), encoded(faceless(), "WEBP")
    heic = encoded(faceless(), "HEIF")
    comment = b"\xff\xfe" + struct.pack(">H", 2 + len(archive())) + archive()
    pdf = b"\xff\xfe\0\x0a%PDF-1.4"
    return {
        "JPEG and ZIP": photo + archive(),
        "JPEG with a ZIP in a comment": photo[:2] + comment + photo[2:],
        "JPEG and HTML": photo + b"<html><script>alert(1)</script>",
        "JPEG and HTML behind zeros": photo + bytes(100) + b"<HTML>",
        "JPEG and a program": photo + b"\x7fELF" + bytes(100),
        "JPEG and PHP": photo + b"\n<?php phpinfo();",
        "JPEG and GIF": photo + animation("GIF"),
        "JPEG and PDF": photo[:2] + pdf + photo[2:],
        "PNG and ZIP": png + archive(),
        "PNG and a program": png + b"\n" + b"MZ" + bytes(100),
        "WebP and HTML": webp + b"<html>",
        "HEIC and ZIP": heic + archive(),
        "HEIC and HTML": heic + b"\n<html>",
    }


def with_camera_notes() -> dict[str, bytes]:
    """What phones, and the ways from them, write behind the picture."""
    photo, png, webp = encoded(faceless()), encoded(faceless(), "PNG"), encoded(faceless(), "WEBP")
    heic = encoded(faceless(), "HEIF")
    movie = struct.pack(">I", 24) + b"ftypmp42\0\0\0\0isommp42" + bytes(range(256)) * 40
    return {
        "a gain map": photo + encoded(faceless(64, 64)),
        "motion": photo + movie,
        "Samsung's motion": photo + b"MotionPhoto_Data" + movie,
        "Samsung's trailer": photo + b"\x00\x00\x01\x0a\x0e\x00\x00\x00Image_UTC_Data1700000000000SEFT",
        "vivo's notes": photo + b'vivo{"caminfo":{"mode":"portrait","ratio":"4:3"},"version":"2.0"}',
        "the end of a form": photo + b"\r\n------WebKitFormBoundary7MA4YWxkTrZu0gW--\r\n",
        "padding": photo + bytes(4096),
        "PNG and a newline": png + b"\n",
        "PNG and text": png + b"exported by a gallery",
        "WebP and a newline": webp + b"\r\n",
        "HEIC and a newline": heic + b"\n",
        "HEIC and motion": heic + b"MotionPhoto_Data" + movie,
    }
