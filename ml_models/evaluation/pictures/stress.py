"""Poor light, angles and occlusion, made from a benchmark's own pictures.

A stress is applied to the probe, the second picture of a pair; the reference stays clean. Lengths are in eye
distances (*e*) of the face, so that a stress is as hard on a 640-pixel portrait as on a 100-pixel one. What light
does is computed in linear light (IEC 61966-2-1, sRGB), where it adds up. Every random choice comes from the seed,
the stress's name and the picture's bytes: the same everywhere, whatever the file is called.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from ...engine.conditions import BLURRED, COVERED, EYES_COVERED, GLASSES
from ...engine.decode import decode
from ...engine.detect import Detector, the_one_face
from ...engine.errors import ImageError
from ...engine.types import Image
from .coverings import EYES_BARRED, MASKS
from .glasses import CLEAR, DARK
from .scene import Scene
from .unseen_coverings import UNSEEN

SEED = 30107
REVISION = 3
"""Raise it when a stress changes: cached vectors of the former stress are then not used any more."""

Light = NDArray[np.float32]
"""Linear RGB, float32, (H, W, 3); 1 is white."""


DESIGNS = 27
"""Of every covering so many are drawn, each for its share of the pictures; they take its shapes in turn."""

Stress = Callable[[Scene, np.random.Generator], Image]


def apply(name: str, data: bytes, detector: Detector, seed: int = SEED) -> bytes:
    """Put one picture under one stress.

    Args:
        name: one of STRESSES or HELD_OUT.
        data: the clean picture, in any format that the engine reads.
        detector: finds the face in the clean picture: its size scales the blur, its landmarks place mask and bar.
        seed: seeds every random choice, together with the name and the bytes.

    Returns: a PNG, so that encoding changes nothing. Where the clean picture cannot be decoded or shows no face, the
        bytes as given: the engine will refuse them for the same reason.

    Raises:
        KeyError: no stress has this name.
    """
    number, shapes = design(name, hashlib.sha256(data).hexdigest()), SHAPES.get(name)
    change = shapes[number % len(shapes)] if shapes else CHANGES[name]
    try:
        image = decode(data)
        face = the_one_face(detector.detect(image), image.shape, 0.0, np.inf)
    except ImageError:
        return data
    drawn = str(number).encode() if shapes else data
    key = hashlib.sha256(f"{seed}/{name}/".encode() + drawn).digest()
    rng = np.random.default_rng(list(key[:16]))
    changed = change(Scene.of(image, face.landmarks), rng)
    done, png = cv2.imencode(".png", cv2.cvtColor(changed, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not done:
        raise ValueError(f"OpenCV could not encode a picture of shape {changed.shape}.")
    return bytes(png.tobytes())


def design(name: str, digest: str) -> int:
    """The design of the covering that a picture gets, by the picture's sha256: pictures of one design show the very
    same glasses, which is the hardest that two strangers can wear. 0 where the stress draws nothing."""
    return int(digest[:8], 16) % DESIGNS if name in SHAPES else 0


def low_light(scene: Scene, rng: np.random.Generator) -> Image:
    """A phone's small sensor in a dim room: white gives 100 electrons, shot noise is Poisson, read noise 3 electrons
    (EMVA 1288's linear camera model), and the gain leaves the picture 3 stops under the clean one."""
    electrons = rng.poisson(_linear(scene.image) * 100.0) + rng.normal(0.0, 3.0, scene.image.shape)
    return _encoded((electrons / 100.0 / 8.0).astype(np.float32))


def backlight(scene: Scene, rng: np.random.Generator) -> Image:
    """In front of a window: exposed for the background, the person 3 stops under, the surroundings 2 stops over and
    towards white, and a lens that spreads 4 % of white over everything. Head and shoulders are an ellipse of 1.9 by
    2.6 e that widens below the chin; the more the head is turned, the more of it lies behind the face."""
    height, width = scene.image.shape[:2]
    middle = (scene.landmarks[:2].mean(0) + scene.landmarks[3:].mean(0)) / 2
    centre = middle + 2.0 * (middle - scene.landmarks[2]) * (1.0, 0.0)
    x = (np.arange(width, dtype=np.float32)[None, :] - centre[0]) / scene.eye_px
    y = (np.arange(height, dtype=np.float32)[:, None] - centre[1]) / scene.eye_px
    reach = np.hypot(x / (1.9 + 0.9 * np.clip(y - 1.5, 0.0, 2.0)), np.where(y > 0, 0.0, y / 2.6))
    person = (1.0 / (1.0 + np.exp((reach - 1.0) / 0.08)))[..., None]
    light = _linear(scene.image)
    return _encoded(person * light / 8.0 + (1.0 - person) * (light * 4.0 + 0.4) + 0.04)


def motion_blur(scene: Scene, rng: np.random.Generator) -> Image:
    """The head or the hand moves 0.3 e in a straight line, in any direction, while the shutter is open."""
    length = max(2.0, 0.3 * scene.eye_px)
    angle = rng.uniform(0.0, np.pi)
    side = int(np.ceil(length)) | 1
    along = np.linspace(-length / 2, length / 2, 8 * side)
    kernel, middle = np.zeros((side + 2, side + 2), np.float32), (side + 1) / 2
    np.add.at(
        kernel,
        (
            np.round(middle + along * np.sin(angle)).astype(int),
            np.round(middle + along * np.cos(angle)).astype(int),
        ),
        1.0,
    )
    return _convolved(scene.image, kernel)


def defocus_blur(scene: Scene, rng: np.random.Generator) -> Image:
    """Out of focus: each point becomes a disc of 0.25 e."""
    radius = max(1.0, 0.125 * scene.eye_px)
    reach = int(np.ceil(radius)) + 1
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    # the rim's pixels count by how much of them the disc covers, roughly
    return _convolved(scene.image, np.clip(radius + 0.5 - np.hypot(x, y), 0.0, 1.0).astype(np.float32))


def down_sampling(scene: Scene, rng: np.random.Generator) -> Image:
    """From far away, then enlarged again: the eyes are 12 pixels apart in between."""
    height, width = scene.image.shape[:2]
    scale = min(1.0, 12.0 / scene.eye_px)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(scene.image, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def jpeg(scene: Scene, rng: np.random.Generator) -> Image:
    """Compressed hard by a messenger: JPEG quality 10, colour at half the resolution."""
    options = [
        cv2.IMWRITE_JPEG_QUALITY,
        10,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    ]
    done, encoded = cv2.imencode(".jpg", cv2.cvtColor(scene.image, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise ValueError(f"OpenCV could not encode a picture of shape {scene.image.shape}.")
    return np.asarray(cv2.cvtColor(cv2.imdecode(encoded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), np.uint8)


def rotation(scene: Scene, rng: np.random.Generator) -> Image:
    """The phone held askew: 20 to 40 degrees to one side or the other, about the face's middle; the picture's rim
    goes on outside."""
    height, width = scene.image.shape[:2]
    degrees = rng.uniform(20.0, 40.0) * rng.choice((-1.0, 1.0))
    x, y = (float(value) for value in scene.landmarks.mean(0))
    matrix = cv2.getRotationMatrix2D((x, y), float(degrees), 1.0)
    turned = cv2.warpAffine(
        scene.image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(turned, np.uint8)


CHANGES: Mapping[str, Stress] = {
    change.__name__: change
    for change in (low_light, backlight, motion_blur, defocus_blur, down_sampling, jpeg, rotation)
}
COVERINGS: Mapping[str, Sequence[Stress]] = {
    "face_mask": MASKS,
    "sunglasses": DARK,
    "eyes_barred": EYES_BARRED,
    "spectacles": CLEAR,
}
"""By the stress's name the shapes that it draws."""
HELD_OUT: Mapping[str, Sequence[Stress]] = {shape.__name__: (shape,) for shape in UNSEEN}
"""Coverings that nothing is fitted under."""
STRESSES = (*CHANGES, *COVERINGS)

SHAPES = {**COVERINGS, **HELD_OUT}

CONDITION_UNDER = {
    "motion_blur": BLURRED.name,
    "defocus_blur": BLURRED.name,
    "face_mask": COVERED.name,
    "sunglasses": EYES_COVERED.name,
    "eyes_barred": EYES_COVERED.name,
    "spectacles": GLASSES.name,
}
"""The stresses that belong to an `engine.fuse.Condition`, with its name: the condition is fitted under them."""
BOTH_SIDES = (*CONDITION_UNDER, *HELD_OUT)
"""The stresses under which references are put, too."""


_LEVELS, _STEPS = np.arange(256) / 255, np.arange(65536) / 65535
_TO_LINEAR = np.where(_LEVELS <= 0.04045, _LEVELS / 12.92, ((_LEVELS + 0.055) / 1.055) ** 2.4).astype(np.float32)
_TO_SRGB = (
    (255 * np.where(_STEPS <= 0.0031308, 12.92 * _STEPS, 1.055 * _STEPS ** (1 / 2.4) - 0.055)).round().astype(np.uint8)
)


def _linear(image: Image) -> Light:
    return np.asarray(_TO_LINEAR[image], np.float32)


def _encoded(light: Light) -> Image:
    return np.asarray(_TO_SRGB[(np.clip(light, 0.0, 1.0) * 65535.0).round().astype(np.uint16)], np.uint8)


def _convolved(image: Image, kernel: Light) -> Image:
    return _encoded(cv2.filter2D(_linear(image), -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE))
