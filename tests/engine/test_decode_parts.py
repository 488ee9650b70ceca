"""Of a file's parts those beside the pixels cannot refuse a picture, whatever is in them."""

import struct
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image, ImageCms

from ml_models.engine.decode import decode
from ml_models.engine.errors import UndecodableImage
from tests.support.exif_files import tiff, turned_by_90, with_exif
from tests.support.pictures import encoded, faceless

JPEG = encoded(faceless())
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def segment(code: int, body: bytes) -> bytes:
    return b"\xff" + bytes([code]) + struct.pack(">H", 2 + len(body)) + body


SEGMENTS = {
    "a JFIF part that ends too early": segment(0xE0, b"JFIF\0"),
    "an Adobe part that ends too early": segment(0xEE, b"Adobe"),
    "a profile's part without its number": segment(0xE2, b"ICC_PROFILE\0\1"),
    "a profile's part without a profile": segment(0xE2, b"ICC_PROFILE\0\1\1"),
    "a profile of which a part is missing": segment(0xE2, b"ICC_PROFILE\0\1\2" + SRGB),
    "a profile that is none": segment(0xE2, b"ICC_PROFILE\0\1\1nonsense"),
    "a part without a length": b"\xff\xe5\0\0",
    "a part that there is none of": segment(0xF0, b"x") + segment(0x02, b"x"),
    "a second beginning": b"\xff\xd8",
    "bytes between two parts": b"\0nonsense\0",
}


@pytest.mark.parametrize("name", SEGMENTS)
def test_a_part_of_a_JPEG_that_holds_no_pixels_cannot_refuse_it(name: str) -> None:
    at = JPEG.index(b"\xff\xdb")
    np.testing.assert_array_equal(decode(JPEG[:at] + SEGMENTS[name] + JPEG[at:]), decode(JPEG))


def chunk(name: bytes, body: bytes, checksum: int | None = None) -> bytes:
    return struct.pack(">I4s", len(body), name) + body + struct.pack(">I", checksum or zlib.crc32(name + body))


def chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    while at < len(png):
        end = at + 12 + int.from_bytes(png[at : at + 4], "big")
        yield png[at + 4 : at + 8], png[at:end]
        at = end


def with_chunk(png: bytes, made: bytes, before: bytes = b"IDAT") -> bytes:
    out, put = [png[:8]], False
    for name, whole in chunks(png):
        if name == before and not put:
            out.append(made)
            put = True
        out.append(whole)
    return b"".join(out)


PROFILES = {
    "a wrong check sum": chunk(b"iCCP", b"x\0\0" + zlib.compress(SRGB), 7),
    "a profile of 200 MB": chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(200 << 20), 9)),
    "another compression": chunk(b"iCCP", b"x\0\7" + zlib.compress(SRGB)),
    "no name": chunk(b"iCCP", b"x" * 40),
    "nothing": chunk(b"iCCP", b""),
    "a name alone": chunk(b"iCCP", b"x\0"),
    "half a profile": chunk(b"iCCP", b"x\0\0" + zlib.compress(SRGB)[:40]),
    "no animation": chunk(b"acTL", b""),
    "one frame": chunk(b"acTL", struct.pack(">II", 1, 0)),
    "an animation with a wrong check sum": chunk(b"acTL", struct.pack(">II", 2, 0), 7),
}


@pytest.mark.parametrize("before", [b"IDAT", b"IEND"])
@pytest.mark.parametrize("name", PROFILES)
def test_a_chunk_of_a_PNG_that_holds_no_pixels_cannot_refuse_it(name: str, before: bytes) -> None:
    png = encoded(faceless(), "PNG")
    np.testing.assert_array_equal(decode(with_chunk(png, PROFILES[name], before)), decode(png))


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA"])
@pytest.mark.parametrize("body", [b"", b"\0", b"\0\0\0\0", b"\0" * 300])
def test_a_transparent_colour_of_the_wrong_length_is_none(mode: str, body: bytes) -> None:
    png = encoded(faceless().convert(mode), "PNG")
    fits = mode == "P" and len(body) <= 256
    for before in (b"IDAT", b"IEND"):
        read = decode(with_chunk(png, chunk(b"tRNS", body), before))
        assert read.shape == (240, 320, 3)
        assert fits or np.array_equal(read, decode(png))
    np.testing.assert_array_equal(decode(with_chunk(png, chunk(b"tRNS", b"\0\0", 7))), decode(png))


def test_a_profile_and_a_transparent_colour_that_are_whole_still_count() -> None:
    png = encoded(Image.new("RGB", (64, 64), (10, 20, 30)), "PNG")
    clear = chunk(b"tRNS", struct.pack(">HHH", 10, 20, 30))
    assert np.unique(decode(with_chunk(png, clear))).tolist() == [128]
    swapped = SRGB.replace(b"rXYZ", b"tmp!", 1).replace(b"gXYZ", b"rXYZ", 1).replace(b"tmp!", b"gXYZ", 1)
    profile = chunk(b"iCCP", b"x\0\0" + zlib.compress(swapped))
    assert decode(with_chunk(png, profile))[0, 0].tolist() != decode(png)[0, 0].tolist()


NOTES = {
    "a recorded voice": b"#!AMR\n" + bytes(100),
    "a maker's two letters": b"PKCS7",
    "text that begins as an archive's name does": b"BZh, or not",
}
FOREIGN = {
    "xz": b"\xfd7zXZ\0",
    "a cabinet": b"MSCF",
    "a tape archive": b"name".ljust(257, b"\0") + b"ustar",
    "an Office document": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
    "PostScript": b"%!PS-Adobe",
    "a Java class": b"\xca\xfe\xba\xbe",
    "a program of a Mac": b"\xcf\xfa\xed\xfe",
    "a program of Android": b"dex\n035",
    "a script": b"#! /bin/sh\n",
    "a drawing": b"\n<svg onload=x>",
}


@pytest.mark.parametrize("name", NOTES)
def test_notes_that_begin_a_little_as_something_else_does_are_notes(name: str) -> None:
    assert decode(JPEG + NOTES[name]).shape == (240, 320, 3)


@pytest.mark.parametrize("name", FOREIGN)
def test_the_beginning_of_another_kind_of_file_is_refused(name: str) -> None:
    with pytest.raises(UndecodableImage, match="something else"):
        decode(JPEG + FOREIGN[name])


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP", "HEIF"])
@pytest.mark.parametrize("before", [b"\n", b"\r\n\r\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf "])
def test_what_a_text_begins_with_is_left_out(before: bytes, fmt: str) -> None:
    whole = encoded(faceless(), fmt)
    np.testing.assert_array_equal(decode(before + whole), decode(whole))


@pytest.mark.parametrize("said", [0, 4, 500, 1 << 20, (1 << 32) - 1])
def test_a_WebP_is_read_whatever_length_it_says_of_itself(said: int) -> None:
    whole = with_exif(tiff(turned_by_90()), "WEBP")
    assert decode(whole[:4] + struct.pack("<I", said) + whole[8:]).shape == (72, 48, 3)
    longer = whole[:4] + struct.pack("<I", said) + whole[8:] + b"remains of a form"
    assert decode(longer).shape == (72, 48, 3)


def test_a_WebP_whose_pixels_are_not_all_there_is_refused() -> None:
    whole = encoded(faceless(), "WEBP")
    for missing in (3, 40, len(whole) - 20):
        with pytest.raises(UndecodableImage):
            decode(whole[:-missing])


def test_behind_a_WebP_another_kind_of_file_is_refused_whatever_length_it_says() -> None:
    whole = encoded(faceless(), "WEBP")
    for said in (len(whole), len(whole) - 8, 0):
        with pytest.raises(UndecodableImage, match="something else"):
            decode(whole[:4] + struct.pack("<I", said) + whole[8:] + b"%PDF-1.4")
