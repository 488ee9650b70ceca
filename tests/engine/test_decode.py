import io
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from ml_models.engine.decode import DecodeLimits, decode, decode_opened, read
from ml_models.engine.errors import ImageTooLarge, UndecodableImage
from ml_models.engine.lanes import OneLane, T
from tests.conftest import Portraits
from tests.support.pictures import encoded, opened, profile_that_swaps_red_and_green, with_orientation


@pytest.fixture(scope="module")
def picture(portraits: Portraits) -> Image.Image:
    return opened(portraits.eileen_collins).resize((400, 300))


def difference(a: np.ndarray, b: Image.Image) -> float:
    assert a.shape == (b.height, b.width, 3)
    return float(np.abs(a.astype(int) - np.asarray(b, dtype=int)).mean())


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP", "HEIF"])
def test_every_format_is_read_by_its_content(picture: Image.Image, fmt: str) -> None:
    image = decode(encoded(picture, fmt))
    assert image.dtype == np.uint8
    assert difference(image, picture) < 4


@pytest.mark.parametrize("side", [1600, 200, 150, 40])
def test_of_a_JPEG_come_the_pixels_that_Pillow_gives(picture: Image.Image, side: int) -> None:
    for mode, options in (
        ("RGB", {"subsampling": 0}),
        ("RGB", {"subsampling": 1, "quality": 20}),
        ("RGB", {"subsampling": 2, "progressive": True}),
        ("RGB", {"icc_profile": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()}),
        ("L", {}),
        ("L", {"icc_profile": grey_profile()}),
    ):
        data = encoded(picture.convert(mode), **options)
        with Image.open(io.BytesIO(data)) as plain:
            wanted = decode_opened(plain, DecodeLimits(working_side=side))
        np.testing.assert_array_equal(decode(data, DecodeLimits(working_side=side)), wanted)


def grey_profile() -> bytes:
    """The least that ICC.1 asks for: a white point and a tone curve, gamma 1.8."""
    white = b"XYZ \0\0\0\0" + struct.pack(">3I", 0xF6D6, 0x10000, 0xD32D)
    curve = b"curv\0\0\0\0" + struct.pack(">IHxx", 1, round(1.8 * 256))
    tags = struct.pack(">I4sII4sII", 2, b"wtpt", 156, 20, b"kTRC", 176, 16)
    head = struct.pack(
        ">I4x I4s4s4s 12x 4s 28x 3I 48x", 192, 0x02100000, b"mntr", b"GRAY", b"XYZ ", b"acsp", 0xF6D6, 0x10000, 0xD32D
    )
    return head + tags + white + curve


class TwoLanes(OneLane):
    """Notes how many works are run together; the last one first."""

    def __init__(self) -> None:
        self.together: list[int] = []

    def run(self, works: Sequence[Callable[[], T]]) -> list[T]:
        self.together.append(len(works))
        return super().run(works[::-1])[::-1]


@pytest.mark.parametrize("size", [(400, 301), (400, 1)])
def test_a_colour_profile_is_set_up_once_and_applied_on_all_lanes(
    picture: Image.Image, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up, build = [], ImageCms.buildTransform

    def noted(*of: Any) -> ImageCms.ImageCmsTransform:
        set_up.append(of)
        return build(*of)

    monkeypatch.setattr(ImageCms, "buildTransform", noted)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = srgb.replace(b"rXYZ", b"tmp!", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"tmp!", b"bXYZ", 1)
    data, lanes = encoded(picture.resize(size), icc_profile=profile), TwoLanes()
    decoded = read(data)
    np.testing.assert_array_equal(decoded.in_srgb(decoded.pixels, lanes), decode(data))
    assert lanes.together == [min(2, size[1])]
    assert len(set_up) <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("fmt", ["JPEG", "WEBP", "PNG"])
def test_a_picture_stored_turned_comes_out_upright(picture: Image.Image, orientation: int, fmt: str) -> None:
    assert difference(decode(with_orientation(picture, orientation, fmt)), picture) < 6


@pytest.mark.parametrize("fmt", ["JPEG", "WEBP", "PNG", "HEIF"])
def test_a_large_picture_stored_turned_comes_out_upright(picture: Image.Image, fmt: str) -> None:
    image = decode(with_orientation(picture.resize((1600, 1200)), 6, fmt), DecodeLimits(working_side=400))
    assert difference(image, picture) < 6


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "1"])
def test_other_colour_modes_are_turned_upright_too(picture: Image.Image, mode: str) -> None:
    stored = with_orientation(picture.convert(mode), 6, "PNG")
    upright = decode(encoded(picture.convert(mode), "PNG"))
    np.testing.assert_array_equal(decode(stored), upright)


def test_a_picture_with_a_colour_profile_is_turned_upright_too(picture: Image.Image) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert difference(decode(with_orientation(picture, 6, "PNG", icc_profile=srgb)), picture) < 3


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_turned_HEIC_comes_out_upright_once(picture: Image.Image, orientation: int) -> None:
    assert difference(decode(with_orientation(picture, orientation, "HEIF")), picture) < 6


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "1", "RGBA", "LA"])
def test_other_colour_modes_become_RGB(picture: Image.Image, mode: str) -> None:
    fmt = "JPEG" if mode == "CMYK" else "PNG"
    tolerance = {"L": 40, "LA": 40, "P": 15, "1": 90}.get(mode, 6)
    assert difference(decode(encoded(picture.convert(mode), fmt)), picture) < tolerance


def test_a_16_bit_grey_picture_is_scaled_and_not_clipped() -> None:
    grey = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    image = decode(encoded(Image.fromarray(grey), "PNG"))
    assert abs(image.mean() - 127.5) < 2


def test_a_16_bit_grey_picture_may_have_a_transparent_grey() -> None:
    grey = np.full((40, 40), 50_000, np.uint16)
    grey[:20] = 3_000
    png = encoded(Image.fromarray(grey), "PNG")
    transparent = b"tRNS" + struct.pack(">H", 3_000)
    part = struct.pack(">I", 2) + transparent + struct.pack(">I", zlib.crc32(transparent))
    image = decode(png[:33] + part + png[33:])
    assert np.unique(image[:20]).tolist() == [128]
    assert np.unique(image[20:]).tolist() == [50_000 >> 8]


def test_transparent_pixels_lie_on_grey(picture: Image.Image) -> None:
    clear = picture.convert("RGBA")
    clear.putalpha(0)
    assert np.unique(decode(encoded(clear, "PNG"))).tolist() == [128]


def test_a_colour_profile_is_applied_and_a_broken_one_ignored(picture: Image.Image) -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    plain = decode(encoded(picture, "PNG"))
    np.testing.assert_array_equal(decode(encoded(picture, "PNG", icc_profile=b"nonsense" * 30)), plain)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.abs(decode(encoded(picture, "PNG", icc_profile=srgb)).astype(int) - plain).max() <= 2
    assert decode(encoded(picture, "PNG", icc_profile=lab)).shape == plain.shape


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP", "HEIF"])
@pytest.mark.parametrize("mode", ["RGB", "P"])
def test_the_colours_are_the_ones_that_the_profile_means(picture: Image.Image, fmt: str, mode: str) -> None:
    swapped = profile_that_swaps_red_and_green()
    if mode == "P" and fmt != "PNG":
        pytest.skip("has no palettes")
    stored = encoded(picture.convert(mode), fmt, icc_profile=swapped)
    assert difference(decode(stored)[:, :, [1, 0, 2]], picture) < (15 if mode == "P" else 6)


def test_a_large_picture_is_reduced_to_the_working_side(picture: Image.Image) -> None:
    image = decode(encoded(picture.resize((4000, 3000))), DecodeLimits(working_side=1000))
    assert image.shape == (750, 1000, 3)
    assert difference(image, picture.resize((1000, 750))) < 4


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((4032, 3024), (2016, 1512)),  # 12 megapixels
        ((8064, 6049), (2016, 1512)),  # 48
        ((3100, 2400), (1600, 1239)),  # half of it would be too small, and the whole is too large
        ((2400, 1800), (2400, 1800)),
        ((12_000, 9_000), (1600, 1200)),
        ((3300, 1), (1650, 1)),
    ],
)
def test_a_picture_is_halved_and_reduced_further_only_where_it_is_still_large(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert DecodeLimits().working_size(*size) == expected


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP", "HEIF"])
@pytest.mark.parametrize(("side", "expected"), [(300, (300, 400)), (250, (188, 250)), (150, (150, 200))])
def test_every_format_comes_at_the_working_size(
    picture: Image.Image, fmt: str, side: int, expected: tuple[int, int]
) -> None:
    assert decode(encoded(picture, fmt), DecodeLimits(working_side=side)).shape == (*expected, 3)


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP", "HEIF"])
def test_a_truncated_picture_is_refused(picture: Image.Image, fmt: str) -> None:
    data = encoded(picture, fmt)
    for part in (0.1, 0.5, 0.9):
        with pytest.raises(UndecodableImage):
            decode(data[: int(len(data) * part)])


@pytest.mark.parametrize("data", [b"", b"hello, I am a picture", b"\xff\xd8\xff\xe0", b"GIF89a" + b"\0" * 50])
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(UndecodableImage):
        decode(data)


@pytest.mark.parametrize("fmt", ["GIF", "BMP", "TIFF", "ICO", "PPM"])
def test_other_formats_are_refused(picture: Image.Image, fmt: str) -> None:
    with pytest.raises(UndecodableImage):
        decode(encoded(picture, fmt))


@pytest.mark.parametrize("fmt", ["PNG", "WEBP"])
def test_an_animated_picture_is_refused(picture: Image.Image, fmt: str) -> None:
    frames = [picture.resize((64, 64)), picture.rotate(90).resize((64, 64))]
    buffer = io.BytesIO()
    frames[0].save(buffer, fmt, save_all=True, append_images=frames[1:], duration=100)
    with pytest.raises(UndecodableImage):
        decode(buffer.getvalue())


def test_the_caps_on_bytes_pixels_and_sides_hold(picture: Image.Image) -> None:
    data = encoded(picture)
    with pytest.raises(ImageTooLarge):
        decode(data, DecodeLimits(max_bytes=len(data) - 1))
    with pytest.raises(ImageTooLarge):
        decode(data, DecodeLimits(max_pixels=400 * 300 - 1))
    with pytest.raises(ImageTooLarge):
        decode(data, DecodeLimits(max_side=399))
    assert decode(data, DecodeLimits(max_bytes=len(data), max_pixels=400 * 300, max_side=400)).shape == (300, 400, 3)


@pytest.mark.parametrize("size", [(9_000, 9_000), (14_000, 14_000), (70_000, 10)])
def test_a_bomb_is_refused_by_its_header(size: tuple[int, int]) -> None:
    with pytest.raises(ImageTooLarge):
        decode(encoded(Image.new("1", size), "PNG"))
