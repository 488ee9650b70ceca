"""Colours of any kind → sRGB."""

from __future__ import annotations

import io
from functools import lru_cache, partial

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageCms

from .lanes import Lanes
from .types import Image

# How many small profiles' transforms are kept, since setting one up takes 2 ms: phones of one make have one profile, of
# some 500 bytes.
_KEPT_PROFILES, _KEPT_PROFILE_BYTES = 8, 16_384


def to_srgb(picture: PillowImage.Image) -> PillowImage.Image:
    """A picture of any mode as RGB, what is transparent laid on mid-grey."""
    profile = picture.info.get("icc_profile")
    if picture.mode.startswith("I;16"):
        picture = _eight_bit(picture)
    elif picture.mode in ("RGBA", "LA", "PA"):
        rgba = picture.convert("RGBA")
        # a transparent pixel has no colour of its own: lay the picture on mid-grey
        ground = PillowImage.new("RGBA", rgba.size, (128, 128, 128, 255))
        picture = PillowImage.alpha_composite(ground, rgba).convert("RGB")
    if profile and picture.mode == "P":
        picture = picture.convert("RGB")  # the profile speaks of the palette's colours
    if profile and picture.mode in ("RGB", "L", "CMYK"):
        converted = _apply_profile(picture, profile)
        if converted is not None:
            return converted
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _eight_bit(picture: PillowImage.Image) -> PillowImage.Image:
    """16-bit grey in 8 bits, which Pillow's own conversion would clip to white; a transparent grey becomes mid-grey."""
    deep = np.asarray(picture, dtype=np.uint16)
    grey = (deep >> 8).astype(np.uint8)
    if "transparency" in picture.info:
        grey[deep == picture.info["transparency"]] = 128
    return PillowImage.fromarray(grey)


def _apply_profile(picture: PillowImage.Image, profile: bytes) -> PillowImage.Image | None:
    known = transform(profile, picture.mode)
    return known.apply(picture) if known else None


def converted(rgb: Image, by: ImageCms.ImageCmsTransform, lanes: Lanes) -> Image:
    """RGB, uint8, (H, W, 3), the halves side by side."""
    done: Image = np.empty_like(rgb)

    def convert(rows: slice) -> None:
        picture = PillowImage.fromarray(rgb[rows])
        done[rows] = np.asarray(by.apply(picture, picture))

    middle = (len(rgb) + 1) // 2
    halves = [slice(middle), slice(middle, None)]
    lanes.run([partial(convert, rows) for rows in halves if len(rgb[rows])])
    return done


def transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """To sRGB, safe to share between threads; None for a profile that is damaged or another mode's."""
    return (_kept if len(profile) <= _KEPT_PROFILE_BYTES else _set_up)(profile, mode)


def _set_up(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    # a chain of steps, of which 65,535 fit in half a megabyte, each computed for every colour of a table
    if b"mpet" in profile:
        return None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError):
        return None  # a damaged profile is no reason to refuse a child: the pixels are read as sRGB


_kept = lru_cache(_KEPT_PROFILES)(_set_up)
