"""Pictures made from the portraits: every format, every way to be wrong."""

import io

import numpy as np
import pillow_heif
from PIL import Image, ImageCms, ImageEnhance

pillow_heif.register_heif_opener()


def encoded(image: Image.Image, fmt: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, fmt, **options)
    return buffer.getvalue()


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def another(data: bytes, number: int = 1) -> bytes:
    """A further photograph of the same face, as far as one can be made: from nearer, and in less light."""
    image = opened(data)
    edge = round(0.03 * number * min(image.size))
    nearer = image.crop((edge, edge, image.width - edge, image.height - edge))
    return encoded(ImageEnhance.Brightness(nearer).enhance(0.9 - 0.05 * number), quality=85)


def with_orientation(image: Image.Image, orientation: int, fmt: str = "JPEG", **options: object) -> bytes:
    """The picture stored turned, with the EXIF tag that says how to turn it back."""
    stored = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(image.transpose(stored) if stored is not None else image, fmt, exif=exif.tobytes(), **options)


def profile_that_swaps_red_and_green() -> bytes:
    """A colour profile whose first channel is green and whose second is red."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return srgb.replace(b"rXYZ", b"tmp!", 1).replace(b"gXYZ", b"rXYZ", 1).replace(b"tmp!", b"gXYZ", 1)


def side_by_side(*images: Image.Image, height: int = 512) -> Image.Image:
    scaled = [image.resize((round(image.width * height / image.height), height)) for image in images]
    canvas = Image.new("RGB", (sum(image.width for image in scaled), height))
    x = 0
    for image in scaled:
        canvas.paste(image, (x, 0))
        x += image.width
    return canvas


def playing_card(image: Image.Image, x: int, y: int) -> Image.Image:
    """The largest square around a point, its lower half replaced by the upper one upside down."""
    half = min(x, y, image.width - x, image.height - y)
    upper = image.crop((x - half, y - half, x + half, y))
    card = Image.new("RGB", (2 * half, 2 * half))
    card.paste(upper)
    card.paste(upper.rotate(180), (0, half))
    return card


def faceless(width: int = 320, height: int = 240) -> Image.Image:
    """Coloured noise, no face in it."""
    pixels = np.random.default_rng(0).integers(0, 255, (height // 8, width // 8, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height))
