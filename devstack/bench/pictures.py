"""What phones' large pictures cost beside a small one: decoding by itself, and the whole verify."""

from __future__ import annotations

import io
import statistics
from functools import partial

import numpy as np
import pillow_heif
from PIL import Image, ImageCms, ImageOps

from devstack.bench.networks import Work, in_turn
from devstack.bench.service import SUBJECT, ask
from devstack.demo import Service

# (width, height), as phones' sensors have them, held upright
_SMALL = 480, 640
_SIZES = {12: (3024, 4032), 48: (6048, 8064)}


def measure(service: Service, picture: bytes, runs: int) -> dict[str, dict[str, float]]:
    """By name: milliseconds to decode and to verify, medians; and the verify beside the one of 0.3 megapixels. All show
    the middle of the picture in three quarters of its width. A HEIC's own codec is timed, too."""
    from ml_models.engine.decode import decode

    pictures = {"0.3 MP JPEG": _of_size(picture, _SMALL, "JPEG")}
    pictures |= {f"{megapixels} MP JPEG": _of_size(picture, size, "JPEG") for megapixels, size in _SIZES.items()}
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pictures["12 MP JPEG, colour profile"] = _of_size(picture, _SIZES[12], "JPEG", icc_profile=profile)
    pictures["12 MP HEIC"] = _of_size(picture, _SIZES[12], "HEIF")
    works: dict[str, Work] = {}
    for name, data in pictures.items():
        works[f"decode {name}"] = partial(decode, data)
        works[f"verify {name}"] = partial(ask, service, "verify", SUBJECT, data)
        if name.endswith("HEIC"):
            works[f"codec {name}"] = partial(_by_its_codec, data)
    ms = {name: statistics.median(taken) for name, taken in in_turn(works, runs, after={}).items()}
    return {
        name: {
            "decode_ms": ms[f"decode {name}"],
            "codec_ms": ms.get(f"codec {name}", 0.0),
            "verify_ms": ms[f"verify {name}"],
            "verify_to_small": ms[f"verify {name}"] / ms["verify 0.3 MP JPEG"],
        }
        for name in pictures
    }


def _of_size(picture: bytes, size: tuple[int, int], fmt: str, **options: bytes) -> bytes:
    pillow_heif.register_heif_opener()
    file = io.BytesIO()
    resized = ImageOps.fit(Image.open(io.BytesIO(picture)), size, Image.Resampling.BICUBIC)
    resized.save(file, fmt, quality=90, **options)
    return file.getvalue()


def _by_its_codec(data: bytes) -> None:
    np.asarray(pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=True))
