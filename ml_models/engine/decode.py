"""Bytes from a stranger → an RGB image, turned as its camera says, or a refusal."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass, replace

import numpy as np
import pillow_heif
import simplejpeg
from PIL import Image as PillowImage
from PIL import ImageCms, JpegImagePlugin

from . import colours, container, exif
from .container import JPEG_END, Photo
from .errors import ImageTooLarge, UndecodableImage
from .lanes import ONE_LANE, Lanes
from .reduce import fit, halvings, reduced
from .tiles import check_tiles
from .types import Image

pillow_heif.options.THUMBNAILS = pillow_heif.options.DEPTH_IMAGES = pillow_heif.options.AUX_IMAGES = False
# A damaged photo would write a line into the log for each damaged part. The bomb warning is ours to give: see the caps.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
warnings.filterwarnings("ignore", category=PillowImage.DecompressionBombWarning)

# What the sensors of phones give, in pixels, rounded up to the next size that is made.
_SENSOR_25 = 25_000_000
_SENSOR_50 = 8192 * 6144
_SENSOR_108 = 12_032 * 9_024
# The largest picture of each way to be stored, so that decoding it takes less than 300 MB. A plain JPEG is decoded at a
# reduced scale; of one in layers all coefficients are held, of a HEIC the whole picture once or, where it has
# another mode than RGB, twice; libwebp holds twice what the others do.
_MAX_PIXELS = {
    "JPEG": _SENSOR_108,
    "JPEG, in layers 4:2:0": _SENSOR_50,
    "JPEG, in layers": _SENSOR_25,
    "HEIF, RGB": _SENSOR_50,
    "HEIF": _SENSOR_25,
    "PNG": _SENSOR_25,
    "WEBP": 16_000_000,
}
_INCOMPLETE = "The picture's file ends too early or is damaged. Send it again."
# a JPEG in layers takes 0.1 s for each MB, and one that libjpeg warns of is decoded three times
_MAX_LAYERED_AGAIN_BYTES = 4_000_000
# what a JPEG's coded data go on with where they stop too early
_PADDINGS = (b"\x55" * 64, b"\x9a" * 64)
# Up to so many times the working side a picture stays as it is: to take off the rest costs more than it saves.
_NEAR_ENOUGH = 1.5
# by Pillow's names and simplejpeg's, which reads no others
_COLOURS = {"RGB": "RGB", "L": "GRAY"}


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """`max_bytes` of the upload; `max_pixels` and `max_side` in pixels as the header declares them, checked before
    any pixel is decoded, `max_pixels` beside the lower caps that each format has; `working_side` is about the longest
    side the engine goes on with: see `working_size`."""

    max_bytes: int = 12 * 1024 * 1024
    max_pixels: int = _SENSOR_108
    max_side: int = 12_288
    working_side: int = 1600

    def working_size(self, width: int, height: int) -> tuple[int, int]:
        """What a picture of this size is reduced to, (width, height): by halves, as long as the longest side keeps
        `working_side` pixels, and to exactly those where it would have more than _NEAR_ENOUGH times as many."""
        while max(width, height) // 2 >= self.working_side:
            width, height = max(1, width // 2), max(1, height // 2)
        if max(width, height) <= _NEAR_ENOUGH * self.working_side:
            return width, height
        return fit(width, height, self.working_side)


@dataclass(frozen=True, slots=True)
class Decoded:
    """A photo turned as its EXIF orientation says, without alpha, of `DecodeLimits.working_size`: `pixels`, uint8,
    (H, W, 3), in the file's own colours."""

    pixels: Image
    _transform: ImageCms.ImageCmsTransform | None = None

    def in_srgb(self, pixels: Image, lanes: Lanes = ONE_LANE) -> Image:
        """What of these pixels is in sRGB, the colours that everything after this takes. Of a large picture it takes
        longer than decoding, so it is for the fewest pixels that will do.

        Args:
            pixels: some of the photo's, perhaps reduced, (H, W, 3).
            lanes: what does the halves; the answer is the same on any.
        """
        return pixels if self._transform is None else colours.converted(pixels, self._transform, lanes)


def decode(data: bytes, limits: DecodeLimits | None = None) -> Image:
    """`read` a photo, in sRGB: RGB, uint8, (H, W, 3)."""
    decoded = read(data, limits)
    return decoded.in_srgb(decoded.pixels)


def read(data: bytes, limits: DecodeLimits | None = None) -> Decoded:
    """Decode a photo by its content.

    Args:
        data: JPEG, PNG, WebP or HEIC bytes; the name it came under does not matter.
        limits: caps, see `DecodeLimits`.

    Raises:
        ImageTooLarge: more bytes, pixels or a longer side than the limits allow.
        UndecodableImage: not one of the formats, animated, truncated or damaged.
    """
    limits = limits or DecodeLimits()
    if len(data) > limits.max_bytes:
        raise ImageTooLarge(f"The picture has {len(data) / 1e6:.1f} MB; {limits.max_bytes / 1e6:.1f} MB are allowed.")
    try:
        photo = container.photo(data)
        decoded = _decoded(photo, limits)
    except (PillowImage.DecompressionBombError, PillowImage.DecompressionBombWarning, MemoryError) as error:
        raise ImageTooLarge("The picture has too many pixels.") from error
    # what Pillow and its codecs raise on damaged input
    except (
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        IndexError,
        TypeError,
        OverflowError,
        RuntimeError,
        UserWarning,
    ) as error:
        raise UndecodableImage(container.REFUSED) from error
    return replace(decoded, pixels=exif.turned(decoded.pixels, exif.orientation(photo.exif)))


def _decoded(photo: Photo, limits: DecodeLimits) -> Decoded:
    """As it is stored; a HEIC already turned, which libheif does."""
    if photo.kind == "HEIF":
        return _heif(photo, limits)
    if photo.kind == "JPEG":
        return _jpeg(photo, limits)
    with _opened(photo, photo.coded, limits) as picture:
        return Decoded(decode_opened(picture, limits))


def _jpeg(photo: Photo, limits: DecodeLimits) -> Decoded:
    with _opened(photo, photo.coded, limits) as picture:
        if picture.mode in _COLOURS:
            try:
                return _strictly(picture, photo.coded, limits)
            except ValueError as warning:  # of data that are missing, but also of some that are too many
                dear = photo.in_layers and len(photo.coded) > _MAX_LAYERED_AGAIN_BYTES
                if dear or "premature end" in str(warning).lower():
                    raise UndecodableImage(_INCOMPLETE) from warning
    # Where no coded data are missing, what is put behind them makes no difference. Where some are, it is decoded as if
    # it were they.
    padded = (photo.coded.removesuffix(JPEG_END) + padding + JPEG_END for padding in _PADDINGS)
    first, second = (decode_opened(_opened(photo, data, limits), limits) for data in padded)
    if not np.array_equal(first, second):
        raise UndecodableImage(_INCOMPLETE)
    return Decoded(first)


def _strictly(picture: PillowImage.Image, coded: bytes, limits: DecodeLimits) -> Decoded:
    """As `decode_opened`, bit for bit, but in less time and memory, and refused where libjpeg warns.

    Raises:
        ValueError: it does.
    """
    width, height = _draft(picture, limits)
    pixels = simplejpeg.decode_jpeg(coded, _COLOURS[picture.mode], min_width=width, min_height=height)
    profile, size = picture.info.get("icc_profile"), limits.working_size(width, height)
    if picture.mode == "RGB":
        return _of_profile(reduced(pixels, size), profile)
    grey = PillowImage.fromarray(reduced(pixels.squeeze(2), size))
    grey.info["icc_profile"] = profile
    return Decoded(np.array(colours.to_srgb(grey), np.uint8))


def _opened(photo: Photo, coded: bytes, limits: DecodeLimits) -> PillowImage.Image:
    picture = PillowImage.open(io.BytesIO(coded), formats=[photo.kind])
    check_size(picture.size, _stored_as(picture, photo), limits)
    if getattr(picture, "n_frames", 1) > 1:
        raise UndecodableImage(container.ANIMATED)
    return picture


def _heif(photo: Photo, limits: DecodeLimits) -> Decoded:
    # Of several pictures, depth maps and the like, the primary one is the photo. A draft may be an embedded thumbnail,
    # which can show somebody else.
    opened = pillow_heif.open_heif(io.BytesIO(photo.coded), convert_hdr_to_8bit=True)
    picture = opened[opened.primary_index]
    check_size(picture.size, "HEIF, RGB" if picture.mode == "RGB" else "HEIF", limits)
    check_tiles(photo.coded, *picture.size)
    if picture.mode != "RGB":
        return Decoded(decode_opened(picture.to_pillow(), limits))
    # libheif's own memory, which Pillow would copy
    whole = np.asarray(picture)
    smaller = reduced(whole, limits.working_size(whole.shape[1], whole.shape[0]))
    return _of_profile(smaller.copy() if smaller is whole else smaller, picture.info.get("icc_profile"))


def _of_profile(rgb: Image, profile: bytes | None) -> Decoded:
    return Decoded(rgb, colours.transform(profile, "RGB") if profile else None)


def _stored_as(picture: PillowImage.Image, photo: Photo) -> str:
    """A key of _MAX_PIXELS."""
    if isinstance(picture, JpegImagePlugin.JpegImageFile) and photo.in_layers:
        return "JPEG, in layers" + " 4:2:0" * (JpegImagePlugin.get_sampling(picture) == 2)
    return photo.kind


def check_size(size: tuple[int, int], stored_as: str, limits: DecodeLimits) -> None:
    width, height = size
    pixels = min(limits.max_pixels, _MAX_PIXELS[stored_as])
    if width * height > pixels or max(size) > limits.max_side:
        raise ImageTooLarge(
            f"The picture is {width}×{height}, {width * height / 1e6:.0f} megapixels; {pixels / 1e6:.0f} megapixels "
            f"and a side of {limits.max_side} pixels are allowed."
        )


def decode_opened(picture: PillowImage.Image, limits: DecodeLimits) -> Image:
    if picture.format == "JPEG":
        _draft(picture, limits)
    # each further step copies the picture: the fewer of them at full size, the less memory a stranger can ask for
    if "transparency" in picture.info and not picture.mode.startswith("I;16"):
        picture = picture.convert("RGBA")
    if picture.mode in ("RGB", "RGBA", "L", "LA", "CMYK"):
        picture = _reduced(picture, limits)
    rgb = _reduced(colours.to_srgb(picture), limits)
    return np.array(rgb, dtype=np.uint8)


def _draft(picture: PillowImage.Image, limits: DecodeLimits) -> tuple[int, int]:
    """libjpeg decodes at 1/2, 1/4 or 1/8 for less memory and time; the size, (width, height), which is never below what
    the engine goes on with."""
    picture.draft("RGB", fit(*picture.size, limits.working_side))
    return picture.size


def _reduced(picture: PillowImage.Image, limits: DecodeLimits) -> PillowImage.Image:
    size = limits.working_size(*picture.size)
    if size == picture.size:
        return picture
    if picture.mode not in ("RGB", "L", "CMYK"):  # Pillow knows what alpha does to a colour
        return picture.resize(size, PillowImage.Resampling.BOX, reducing_gap=2.0)
    # by Pillow, which needs no copy of the whole picture for it
    by = 2 ** halvings(picture.size, size)
    pixels = np.asarray(picture.reduce(by) if by > 1 else picture)
    smaller = PillowImage.fromarray(reduced(pixels, size), picture.mode)
    smaller.info = picture.info
    return smaller
