"""A portrait as if the head were turned: the face is laid on half an ellipsoid, which is turned and seen again.

Coarse, yet the detector's landmarks move as a turned head's do, and the networks know the person. So a picture made by
software passes for a turned head, as docs/security.md says.
"""

import io
from collections import Counter
from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np
from PIL import Image

from ml_models.evaluation.pictures import attacks

# where the faces of the two portraits are, as shares of the picture: middle, half width, half height
_FACES = {(512, 512): (0.436, 0.233, 0.132, 0.188), (512, 600): (0.523, 0.378, 0.25, 0.301)}
_DEPTH = 1.9


@cache
def turned(data: bytes, degrees: float) -> bytes:
    """A JPEG of one of the portraits, turned; above 0 to the person's left, in a picture that is not mirrored."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    pixels, (width, height) = np.asarray(image), image.size
    x, y, half_width, half_height = _FACES[image.size]
    middle, centre, reach = x * width, y * height, half_height * height
    columns = np.arange(width, dtype=np.float64)
    across = np.tile(columns.astype(np.float32), (height, 1))
    for row in range(height):
        if abs(row - centre) >= reach:
            continue
        half = half_width * width * np.sqrt(1 - ((row - centre) / reach) ** 2)
        flat = np.linspace(-half, half, 400)
        bulge = _DEPTH * np.sqrt(np.maximum(half**2 - flat**2, 0))
        seen = flat * np.cos(np.radians(degrees)) + bulge * np.sin(np.radians(degrees))
        # what has turned out of sight ends; the rest fills the face's place again
        visible = slice(0, int(seen.argmax()) + 1) if degrees > 0 else slice(int(seen.argmin()), None)
        shown = seen[visible]
        shown = (shown - shown[0]) / (shown[-1] - shown[0]) * 2 * half - half
        inside = np.abs(columns - middle) <= half
        across[row, inside] = middle + np.interp(columns[inside] - middle, shown, flat[visible])
    down = np.tile(np.arange(height, dtype=np.float32)[:, None], (1, width))
    moved = cv2.remap(pixels, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    jpeg = io.BytesIO()
    Image.fromarray(np.asarray(moved, np.uint8)).save(jpeg, "JPEG", quality=95)
    return jpeg.getvalue()


def shown(portrait: bytes, steps: Sequence[str]) -> list[bytes]:
    """A picture for each step of a challenge, no two alike."""
    pictures, counts = [], Counter[str]()
    for step in steps:
        again = counts[step]
        counts[step] += 1
        angle = 9 * again if step == "front" else 45 + 6 * again
        pictures.append(turned(portrait, -angle if step == "right" else angle))
    return pictures


def printed(portrait: bytes, steps: Sequence[str]) -> list[bytes]:
    """A drawn print of the portrait's head, held before a camera and turned as each step of a challenge asks."""
    rng, image = np.random.default_rng(0), Image.open(io.BytesIO(portrait)).convert("RGB")
    x, y, half_width, half_height = _FACES[image.size]
    (width, height), sides = image.size, (2 * half_width, 1.5 * half_height)
    left, top = round((x - sides[0]) * width), round((y - sides[1]) * height)
    head = image.crop((left, top, left + round(2 * sides[0] * width), top + round(2 * sides[1] * height)))
    sheet, turns = attacks.printed(np.asarray(head), rng), {"front": 0.0, "left": -40.0, "right": 40.0}
    pictures = []
    for step in steps:
        jpeg = io.BytesIO()
        Image.fromarray(attacks.photographed(attacks.held(sheet, turns[step]), rng)).save(jpeg, "JPEG", quality=95)
        pictures.append(jpeg.getvalue())
    return pictures
