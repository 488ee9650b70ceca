"""Bytes from a stranger → an upright RGB image, or a refusal."""

from __future__ import annotations

import io
import math
import warnings
from dataclasses import dataclass

import numpy as np
import pillow_heif
from PIL import Image as PillowImage
from PIL import ImageCms, ImageOps

from . import container
from .errors import ImageTooLarge, UndecodableImage
from .types import Image

pillow_heif.register_heif_opener(thumbnails=False)
# A damaged photo would write a line into the log for each damaged tag. The bomb warning is ours to give: see the caps.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
warnings.filterwarnings("ignore", category=PillowImage.DecompressionBombWarning)

# A phone's JPEG (MPO) or HEIC may carry a depth map or a second view; the first picture is the photo.
_SEVERAL_PICTURES = ("MPO", "HEIF")
# Only JPEG can be decoded at a reduced scale. For the others these keep memory under 300 MB (libwebp holds twice what
# the rest do); the 24 megapixels of a phone's HEIC still fit.
_WHOLE_PIXELS = {"PNG": 25_000_000, "HEIF": 25_000_000, "WEBP": 16_000_000}


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """`max_bytes` of the upload; `max_pixels` and `max_side` in pixels as the header declares them, checked before
    any pixel is decoded; `working_side` is the longest side the engine goes on with."""

    max_bytes: int = 12 * 1024 * 1024
    max_pixels: int = 50_000_000
    max_side: int = 12_000
    working_side: int = 1600


def decode(data: bytes, limits: DecodeLimits | None = None) -> Image:
    """Decode a photo by its content, upright, in sRGB, without alpha.

    Args:
        data: JPEG, PNG, WebP or HEIC bytes; the name it came under does not matter.
        limits: caps, see `DecodeLimits`.

    Returns: RGB, uint8, (H, W, 3); the longest side at most `limits.working_side`.

    Raises:
        ImageTooLarge: more bytes, pixels or a longer side than the limits allow.
        UndecodableImage: not one of the formats, animated, truncated or damaged.
    """
    limits = limits or DecodeLimits()
    if len(data) > limits.max_bytes:
        raise ImageTooLarge(f"The picture has {len(data)} bytes; {limits.max_bytes} are allowed.")
    try:
        kind = container.check(data)
        with PillowImage.open(io.BytesIO(data), formats=[kind]) as picture:
            _check_header(picture, data, limits)
            return _decode_opened(picture, limits)
    except (
        PillowImage.DecompressionBombError,
        PillowImage.DecompressionBombWarning,
    ) as error:
        raise ImageTooLarge(f"The picture has too many pixels; {limits.max_pixels} are allowed.") from error
    # What Pillow and its codecs raise on damaged input; MemoryError never reaches here under the caps.
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


def _check_header(picture: PillowImage.Image, data: bytes, limits: DecodeLimits) -> None:
    width, height = picture.size
    pixels = min(limits.max_pixels, _WHOLE_PIXELS.get(picture.format or "", limits.max_pixels))
    if width * height > pixels or max(width, height) > limits.max_side:
        raise ImageTooLarge(
            f"The picture is {width}×{height}; {pixels} pixels and a side of {limits.max_side} are allowed."
        )
    if getattr(picture, "n_frames", 1) > 1 and picture.format not in _SEVERAL_PICTURES:
        raise UndecodableImage("The picture is animated; send a single photo.")
    if picture.format == "HEIF":
        container.check_tiles(data, width, height)


def _decode_opened(picture: PillowImage.Image, limits: DecodeLimits) -> Image:
    if picture.format in ("JPEG", "MPO"):  # a HEIC's draft may be an embedded thumbnail, which can show somebody else
        # libjpeg decodes at 1/2, 1/4 or 1/8 for less memory and time; draft() never goes below the size asked for
        picture.draft("RGB", _fit(*picture.size, limits.working_side))
    # each further step copies the picture: the fewer of them at full size, the less memory a stranger can ask for
    if picture.mode in ("RGB", "RGBA", "L", "LA", "CMYK"):
        picture = _reduced(picture, limits.working_side)
    # HEIF's opener has turned the pixels already and reset the tag
    upright = ImageOps.exif_transpose(picture)
    rgb = _reduced(_to_srgb(upright), limits.working_side)
    return np.array(rgb, dtype=np.uint8)


def _reduced(picture: PillowImage.Image, side: int) -> PillowImage.Image:
    size = _fit(*picture.size, side)
    if size == picture.size:
        return picture
    return picture.resize(size, PillowImage.Resampling.BOX, reducing_gap=2.0)


def _fit(width: int, height: int, side: int) -> tuple[int, int]:
    scale = min(1.0, side / max(width, height))
    return max(1, math.ceil(width * scale)), max(1, math.ceil(height * scale))


def _to_srgb(picture: PillowImage.Image) -> PillowImage.Image:
    profile = picture.info.get("icc_profile")
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        rgba = picture.convert("RGBA")
        # a transparent pixel has no colour of its own: lay the picture on mid-grey
        ground = PillowImage.new("RGBA", rgba.size, (128, 128, 128, 255))
        picture = PillowImage.alpha_composite(ground, rgba).convert("RGB")
    elif picture.mode.startswith("I;16"):
        # Pillow's own conversion clips 16-bit grey to white
        picture = PillowImage.fromarray((np.asarray(picture, dtype=np.uint16) >> 8).astype(np.uint8))
    if profile and picture.mode == "P":
        picture = picture.convert("RGB")  # the profile speaks of the palette's colours
    if profile and picture.mode in ("RGB", "L", "CMYK"):
        converted = _apply_profile(picture, profile)
        if converted is not None:
            return converted
    return picture.convert("RGB")


def _apply_profile(picture: PillowImage.Image, profile: bytes) -> PillowImage.Image | None:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        return None  # a damaged profile is no reason to refuse a child: the pixels are read as sRGB
