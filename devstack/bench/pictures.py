"""What phones' large pictures cost beside a small one: decoding by itself, and the whole verify."""

from __future__ import annotations

import io
import statistics
from functools import partial

import numpy as np
import pillow_heif
from PIL import Image, ImageCms

from devstack.bench.networks import Work, in_turn
from devstack.bench.service import SUBJECT, ask
from devstack.demo import Service

# the longer side of a square picture
_SIDES = {12: 3464, 48: 6928}


def measure(service: Service, picture: bytes, runs: int) -> dict[str, dict[str, float]]:
    """By name: milliseconds to decode and to verify, medians; and the verify beside the small picture's. A HEIC's own
    codec is timed, too."""
    from ml_models.engine.decode import decode

    pictures = {"as it is": picture}
    pictures |= {f"{megapixels} MP JPEG": _enlarged(picture, side, "JPEG") for megapixels, side in _SIDES.items()}
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pictures["12 MP JPEG, colour profile"] = _enlarged(picture, _SIDES[12], "JPEG", icc_profile=profile)
    pictures["12 MP HEIC"] = _enlarged(picture, _SIDES[12], "HEIF")
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
            "verify_to_small": ms[f"verify {name}"] / ms["verify as it is"],
        }
        for name in pictures
    }


def _enlarged(picture: bytes, side: int, fmt: str, **options: bytes) -> bytes:
    pillow_heif.register_heif_opener()
    file = io.BytesIO()
    larger = Image.open(io.BytesIO(picture)).resize((side, side), Image.Resampling.BICUBIC)
    larger.save(file, fmt, quality=90, **options)
    return file.getvalue()


def _by_its_codec(data: bytes) -> None:
    np.asarray(pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=True))
