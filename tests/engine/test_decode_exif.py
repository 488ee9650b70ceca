"""Of a picture's metadata one number counts; the rest can neither refuse nor stop it."""

import random
import struct

import numpy as np
import pytest
from PIL import Image

from ml_models.engine import exif
from ml_models.engine.decode import decode
from tests.support import exif_files
from tests.support.exif_files import CARRIERS, odd_tiff, tiff, turned_by_90, with_exif
from tests.support.pictures import encoded, faceless
from tests.support.processor_time import seconds

ODD = {
    "a negative unit": (exif_files.RESOLUTION_UNIT, exif_files.SSHORT, 1, struct.pack(">hh", -2, 0)),
    "a float for an offset": (exif_files.STRIP_OFFSETS, exif_files.FLOAT, 1, struct.pack(">f", 0.5)),
    "a maker that is a fraction": (exif_files.MAKE, exif_files.RATIONAL, 1, struct.pack(">I", 8)),
}


@pytest.mark.parametrize("carrier", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("odd", ODD)
def test_an_odd_tag_beside_the_orientation_does_no_harm(carrier: str, odd: str) -> None:
    block = tiff(ODD[odd], turned_by_90())
    assert decode(with_exif(block, carrier)).shape == (72, 48, 3)
    assert decode(with_exif(tiff(ODD[odd]), carrier)).shape == (48, 72, 3)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", [exif_files.BYTE, exif_files.SHORT, exif_files.LONG])
def test_the_orientation_is_read_in_both_byte_orders_and_every_width(order: str, kind: int) -> None:
    width = {exif_files.BYTE: "B3x", exif_files.SHORT: "H2x", exif_files.LONG: "I"}[kind]
    entry = (exif_files.ORIENTATION, kind, 1, struct.pack(order + width, 8))
    assert exif.orientation(tiff(entry, order=order)) == 8
    assert exif.orientation(b"Exif\0\0" + tiff(ODD["a negative unit"], entry, order=order)) == 8


@pytest.mark.parametrize("value", [0, 9, 255, 65535])
def test_an_orientation_that_is_none_is_no_orientation(value: int) -> None:
    assert exif.orientation(tiff((exif_files.ORIENTATION, exif_files.SHORT, 1, struct.pack(">HH", value, 0)))) == 1


@pytest.mark.parametrize("block", [b"", b"II", b"MM\0*", b"MM\0*\xff\xff\xff\xff", b"Exif\0\0", b"\0" * 100])
def test_a_block_that_is_none_gives_no_orientation(block: bytes) -> None:
    assert exif.orientation(block) == 1


def test_directories_that_lie_are_left_alone() -> None:
    whole = tiff(turned_by_90(), following=8)
    assert exif.orientation(whole) == 6
    assert [exif.orientation(whole[:size]) for size in range(22)] == [1] * 22
    many = whole[:8] + b"\xff\xff" + whole[10:]
    assert exif.orientation(many) == 6


@pytest.mark.parametrize("carrier", CARRIERS)
def test_whatever_is_in_the_exif_the_picture_is_read(carrier: str) -> None:
    for run in range(500):
        image = decode(with_exif(odd_tiff(random.Random(run)), carrier))  # noqa: S311
        assert sorted(image.shape) == [3, 48, 72]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_are_turned_as_the_number_says(orientation: int) -> None:
    transpositions = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    picture = faceless(40, 24)
    expected = picture.transpose(transpositions[orientation]) if orientation > 1 else picture
    turned = exif.turned(np.asarray(picture), orientation)
    np.testing.assert_array_equal(turned, np.asarray(expected))
    assert turned.flags["C_CONTIGUOUS"]


def test_turning_a_picture_costs_little_of_decoding_it() -> None:
    picture = np.asarray(faceless(1600, 1200))
    copied = seconds(lambda: np.ascontiguousarray(picture.transpose(1, 0, 2)))
    assert seconds(lambda: exif.turned(picture, 6)) < copied / 3


def test_other_metadata_cannot_refuse_a_picture() -> None:
    jpeg, png = encoded(faceless()), encoded(faceless(), "PNG")
    photoshop = b"\xff\xed" + struct.pack(">H", 22) + b"Photoshop 3.0\0" + b"8BIM\x04"
    views = b"\xff\xe2" + struct.pack(">H", 14) + b"MPF\0MM\0*\xff\xff\xff\xff"
    np.testing.assert_array_equal(
        decode(jpeg[:2] + photoshop[:4] + photoshop[4:].ljust(20, b"\0") + jpeg[2:]), decode(jpeg)
    )
    np.testing.assert_array_equal(decode(jpeg[:2] + views + jpeg[2:]), decode(jpeg))
    # a text part whose check sum is wrong
    np.testing.assert_array_equal(
        decode(png[:33] + struct.pack(">I4s4sI", 4, b"zTXt", b"abcd", 7) + png[33:]), decode(png)
    )
