"""Files made to hurt: refused or read, in little time and memory."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from ml_models.engine.decode import decode
from ml_models.engine.errors import ImageError, ImageTooLarge, UndecodableImage
from tests.support.heif_files import tiled_heic
from tests.support.hostile import hostile, png_bomb, polyglots, with_camera_notes
from tests.support.memory import MAX_MORE_MIB
from tests.support.pictures import encoded, faceless
from tests.support.served import ROOT

# as often as an honest picture of the most pixels: a ratio, since machines differ by far more
MAX_TIMES = 4

# The child has read the file and decoded a small one before it measures: what counts is what this picture costs.
_CHILD = """
import sys, time
from ml_models.engine.decode import decode
from ml_models.engine.errors import ImageError
from tests.support.memory import peak_mib, set_back_peak
small, data = sys.stdin.buffer.read(int(sys.argv[1])), sys.stdin.buffer.read()
decode(small)
set_back_peak()
before = peak_mib()
clock = time.process_time
started = clock()
try:
    decode(data)
    outcome = "read"
except ImageError as error:
    outcome = error.code
taken_s = clock() - started
print(outcome, taken_s, peak_mib() - before)
"""
_SMALL = tiled_heic(1, 1, faceless(64, 64))
HOSTILE = hostile()


def cost(data: bytes) -> tuple[str, float, float]:
    """What became of a file, the seconds of one core that it took, and the MiB."""
    child = subprocess.run(
        [sys.executable, "-c", _CHILD, str(len(_SMALL))], input=_SMALL + data, cwd=ROOT, capture_output=True, check=True
    )
    outcome, taken_s, more_mib = child.stdout.split()
    return outcome.decode(), float(taken_s), float(more_mib)


@pytest.fixture(scope="module")
def honest_s() -> float:
    return cost(HOSTILE["a PNG just under the cap"][0])[1]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_costs_little(name: str, honest_s: float) -> None:
    data, code = HOSTILE[name]
    outcome, taken_s, more_mib = cost(data)
    assert outcome == (code or "read")
    assert more_mib < MAX_MORE_MIB
    # of one core: other tests run beside this one
    assert taken_s < MAX_TIMES * honest_s


def test_a_JPEG_is_decoded_at_the_scale_that_is_needed() -> None:
    width, height = 8000, 6000
    outcome, _, more_mib = cost(encoded(faceless(width, height), "JPEG"))
    assert outcome == "read"
    # whole it would be 137 MiB
    assert more_mib < width * height * 3 / 2**20 / 2


@pytest.mark.parametrize("name", polyglots())
def test_a_file_that_is_something_else_besides_is_refused(name: str) -> None:
    with pytest.raises(UndecodableImage):
        decode(polyglots()[name])


@pytest.mark.parametrize("name", with_camera_notes())
def test_what_cameras_write_behind_a_photo_is_no_reason_to_refuse_it(name: str) -> None:
    assert decode(with_camera_notes()[name]).shape == (240, 320, 3)


def test_a_JPEG_that_lacks_its_end_marker_is_read() -> None:
    for options in ({}, {"progressive": True}, {"restart_marker_blocks": 2}):
        whole = encoded(faceless(), **options)
        np.testing.assert_array_equal(decode(whole[:-2]), decode(whole))
        for missing in (40, 400):
            with pytest.raises(UndecodableImage, match="ends too early"):
                decode(whole[:-missing])


def test_a_JPEG_that_was_cut_off_and_closed_again_is_refused() -> None:
    for option, value in (("quality", 75), ("restart_marker_blocks", 2), ("subsampling", 0)):
        whole = encoded(faceless(), "JPEG", **{option: value})
        for missing in (5, 400, len(whole) // 2):
            with pytest.raises(UndecodableImage, match="ends too early"):
                decode(whole[:-missing] + b"\xff\xd9")
    for mode in ("L", "CMYK"):
        whole = encoded(faceless().convert(mode))
        with pytest.raises(UndecodableImage, match="ends too early"):
            decode(whole[: len(whole) // 2] + b"\xff\xd9")


def test_what_cameras_write_too_much_before_the_end_marker_is_read() -> None:
    whole = encoded(faceless())
    np.testing.assert_array_equal(decode(whole[:-2] + b"\x55" * 9 + whole[-2:]), decode(whole))


def test_half_an_end_marker_is_none() -> None:
    whole = encoded(faceless())
    np.testing.assert_array_equal(decode(whole[:-1]), decode(whole))


def test_a_PNG_that_lacks_its_end_is_read_and_one_that_lacks_pixels_is_not() -> None:
    whole = encoded(faceless(), "PNG")
    for missing in (12, 9, 1):
        np.testing.assert_array_equal(decode(whole[:-missing]), decode(whole))
    for missing in (13, 16, 40, 4000, len(whole) - 33, len(whole) - 8):
        with pytest.raises(UndecodableImage):
            decode(whole[:-missing])


def test_a_grid_of_tiles_is_put_together() -> None:
    assert decode(tiled_heic(2, 3, faceless(128, 128))).shape == (256, 384, 3)


def test_tiles_that_do_not_cover_the_picture_are_refused() -> None:
    with pytest.raises(ImageError):
        decode(tiled_heic(2, 2, faceless(128, 128), size=(4000, 4000)))


def test_a_HEIC_that_is_larger_than_it_says_is_refused() -> None:
    data = bytearray(encoded(faceless(1024, 1024), "HEIF"))
    size = data.index(b"ispe") + 8
    data[size : size + 8] = (64).to_bytes(4, "big") * 2
    with pytest.raises(ImageError):
        decode(bytes(data))


@pytest.mark.parametrize("size", [(8160, 6144), (8192, 6144), (9280, 6944), (12_000, 9_000)])
def test_the_largest_pictures_of_phones_are_read_at_a_reduced_scale(size: tuple[int, int]) -> None:
    outcome, _, more_mib = cost(encoded(Image.new("RGB", size), "JPEG"))
    assert outcome == "read"
    assert more_mib < MAX_MORE_MIB / 4


def test_a_HEIC_of_48_megapixels_is_read() -> None:
    outcome, _, more_mib = cost(tiled_heic(12, 16, faceless(512, 512), size=(8064, 6048)))
    assert outcome == "read"
    assert more_mib < MAX_MORE_MIB


@pytest.mark.parametrize("fmt", ["PNG", "HEIF", "WEBP", "JPEG"])
def test_what_is_larger_than_its_format_allows_is_refused_with_what_to_do(fmt: str) -> None:
    data = {
        "PNG": lambda: png_bomb(5_100, 5_000),
        "HEIF": lambda: tiled_heic(14, 15, faceless(512, 512)),
        "WEBP": lambda: encoded(Image.new("RGB", (4_100, 4_000)), "WEBP", lossless=True, quality=0, method=0),
        "JPEG": lambda: encoded(Image.new("RGB", (5_100, 5_000)), "JPEG", progressive=True, subsampling=0),
    }[fmt]()
    with pytest.raises(ImageTooLarge, match=r"megapixels.* are allowed\. Choose a smaller picture size"):
        decode(data)
