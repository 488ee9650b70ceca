"""What can be said of a face before comparing it, in physical terms."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .align import TEMPLATE, landmark_residual
from .conditions import BLURRED, CONDITIONS, COVERED, EYES_COVERED
from .errors import LowQuality, Reason
from .eyes import EyeNetwork
from .types import DetectedFace, Image, Landmarks, Quality


@dataclass(frozen=True, slots=True)
class QualityLimits:
    """A picture outside any of these is refused; see `measure` for the units."""

    min_face_px: float = 40.0
    min_sharpness: float = 4.0
    min_brightness: float = 12.0
    max_brightness: float = 245.0
    min_contrast: float = 5.0
    max_yaw_deg: float = 90.0
    max_pitch_deg: float = 60.0
    max_roll_deg: float = 60.0
    min_detector_score: float = 0.6
    max_landmark_residual: float = 30.0
    min_eye_contrast: float = 0.0
    min_eyes_visible: float = 0.0
    min_score: float = 0.0
    # by prominence, see detect.the_one_face
    bystander_ratio: float = 0.07

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> QualityLimits:
        """Defaults where `data` is silent; TypeError on a name that does not exist."""
        return cls(**{key: float(value) for key, value in data.items()})

    def to_json(self) -> dict[str, float]:
        return asdict(self)


SCORE_ID = "norm-detector-1"
"""Named in the digest of what was measured: thresholds conditioned on another formula's score hold no longer."""

VERIFY_LIMITS = QualityLimits()
# A poor reference costs every later verification, a refused enrolment one more picture.
ENROLL_LIMITS = QualityLimits(
    min_face_px=64.0,
    min_sharpness=12.0,
    min_brightness=30.0,
    max_brightness=235.0,
    min_contrast=12.0,
    max_yaw_deg=35.0,
    max_pitch_deg=35.0,
    max_roll_deg=35.0,
    min_detector_score=0.7,
    # docs/quality.md: under it lie 9 of 10 pairs of dark glasses, and 1 of 100 pairs of clear ones
    min_eye_contrast=0.3,
    # where a version has no network for them, its embeddings tell: services.enrolment
    min_eyes_visible=0.6,
    min_score=0.45,
    bystander_ratio=0.002,
)


def pose(landmarks: Landmarks) -> tuple[float, float, float]:
    """Yaw, pitch and roll in degrees, roughly, from five landmarks; 0, 0, 0 looks into the camera.

    Roll is the angle of the line between the eyes. Yaw and pitch come from where the nose tip lies between the eyes
    and the mouth, taking it to stand out of the face's plane by 0.6 eye distances: a coarse weak-perspective model
    that orders faces well and is a few degrees off for any one.
    """
    left, right, nose, mouth_l, mouth_r = landmarks.astype(np.float64)
    eyes, mouth = (left + right) / 2, (mouth_l + mouth_r) / 2
    across = right - left
    roll = float(np.degrees(np.arctan2(across[1], across[0])))
    cos, sin = np.cos(-np.radians(roll)), np.sin(-np.radians(roll))
    upright = np.array([[cos, -sin], [sin, cos]])
    eyes, nose, mouth = upright @ eyes, upright @ nose, upright @ mouth
    height = max(float(mouth[1] - eyes[1]), 1e-3)
    eye_distance = float(np.hypot(*across))
    # at yaw ψ the eye distance shrinks with cos ψ and the nose moves by sin ψ: the ratio is a tangent
    middle = (eyes[0] + mouth[0]) / 2
    yaw = float(np.degrees(np.arctan2(nose[0] - middle, 0.6 * max(eye_distance, 1e-3))))
    # on a frontal face the nose tip lies 0.55 of the way from the eyes to the mouth (ArcFace template: 0.496–0.55)
    pitch = float(np.degrees(np.arctan2((nose[1] - eyes[1]) / height - 0.5, 0.6)))
    return yaw, pitch, roll


def _part(value: float, poor: float, good: float) -> float:
    return float(np.clip((value - poor) / (good - poor), 0.0, 1.0))


def measure(
    crop: Image,
    face: DetectedFace,
    limits: QualityLimits,
    eyes: EyeNetwork | None = None,
    glasses: EyeNetwork | None = None,
) -> Quality:
    """Measure a face.

    Args:
        crop: the aligned face, RGB, uint8, (112, 112, 3).
        face: where it was in the picture.
        limits: decide the reasons.
        eyes: the version's network that tells whether eyes are covered.
        glasses: the one that tells whether there are glasses before them.

    Returns:
        face_px: shorter side of the box in pixels. sharpness: variance of the Laplacian of the luminance of the
        112×112 crop (Pech-Pacheco et al., 2000), in squared grey levels. brightness: mean luminance of the crop,
        0–255. contrast: standard deviation of the luminance. yaw/pitch/roll: see `pose`. landmark_residual: see
        `align.landmark_residual`. eye_contrast: see `_eye_contrast`. eyes_visible: how likely the eyes are to be seen;
        glasses: how likely there are some before them; [0, 1], None without a network. score: see `_score`; without
        the feature norm, which can only lower it.

    Raises:
        NoFaceFound: degenerate landmarks.
        InferenceFailed: a network failed.
    """
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    middle = grey[20:104, 20:92]  # the face without the background at the crop's rim
    yaw, pitch, roll = pose(face.landmarks)
    face_px = min(face.box[2], face.box[3])
    sharpness = float(cv2.Laplacian(middle, cv2.CV_64F).var())
    brightness, contrast = float(middle.mean()), float(middle.std())
    residual = landmark_residual(face.landmarks)
    measured = Quality(
        0.0,
        (),
        face_px,
        sharpness,
        brightness,
        contrast,
        yaw,
        pitch,
        roll,
        face.score,
        residual,
        eye_contrast=_eye_contrast(grey),
        eyes_visible=1.0 - eyes.probability(crop) if eyes else None,
        glasses=glasses.probability(crop) if glasses else None,
    )
    return _judged(measured, limits)


# Of the crop, about each eye: what an open eye fills, and the cheek below it, wherever the frame of glasses may be.
_EYE_REACH = 6, 5
_CHEEKS = (slice(66, 82), slice(28, 46)), (slice(66, 82), slice(66, 84))
_DARKEST_CHEEK = 4.0


def _eye_contrast(grey: NDArray[np.uint8]) -> float:
    """How much the luminance varies within the eye of the crop that varies more, from the 5th to the 95th percentile,
    over the median luminance of the cheek below it. Iris, white and lid differ whatever the skin and the light; behind
    dark glasses, a bar or a cloth there is little to see of them."""
    contrasts = []
    for (x, y), cheek in zip(TEMPLATE[:2], _CHEEKS, strict=True):
        across, down = (slice(int(at) - reach, int(at) + reach) for at, reach in zip((x, y), _EYE_REACH, strict=True))
        low, high = np.percentile(grey[down, across], (5, 95))
        contrasts.append((high - low) / max(float(np.median(grey[cheek])), _DARKEST_CHEEK))
    return float(max(contrasts))


def with_norms(quality: Quality, norms: Iterable[tuple[float, float | None]], limits: QualityLimits) -> Quality:
    """Complete a measured quality with what the networks make of the face.

    Args:
        norms: of each member the length of its feature before normalisation, and that of the golden faces, None where
            its graph normalises; see `Embedder.golden_norm`.
        limits: decide the reasons.

    Returns: feature_norm: the members' mean of length over golden length; about 1 for a good picture. Networks give
        longer features to faces they know more about (Meng et al., 2021, MagFace; Kim et al., 2022, AdaFace).
    """
    ratios = [norm / golden for norm, golden in norms if golden]
    return _judged(replace(quality, feature_norm=float(np.mean(ratios)) if ratios else None), limits)


def _judged(quality: Quality, limits: QualityLimits) -> Quality:
    scored = replace(quality, score=_score(quality))
    against = details(scored, limits)
    return replace(scored, reasons=_words(against), details=against)


# Fitted on one half of the development images' people, measured on the other: docs/quality.md. The norm carries nearly
# all that can be known; the physical measures hardly add to it on photographs, and keep the score honest on pictures
# that no benchmark has.
_PHYSICAL_EXPONENT = 0.1


def _score(q: Quality) -> float:
    """One number in [0, 1] for how likely a comparison with this picture goes wrong: the feature norm's place between
    poor and good, times the detector's score, times the physical measures' places with a small exponent."""
    physical = (
        _part(q.face_px, 20, 100)
        * _part(float(np.log10(q.sharpness + 1)), 0.3, 2.3)
        * _part(q.brightness, 5, 70)
        * _part(q.brightness, 252, 215)
        * _part(q.contrast, 2, 30)
        * _part(abs(q.yaw_deg), 90, 20)
        * _part(abs(q.pitch_deg), 80, 20)
    )
    norm = 1.0 if q.feature_norm is None else _part(q.feature_norm, 0.3, 1.1)
    return float(norm * _part(q.detector_score, 0.0, 0.95) * physical**_PHYSICAL_EXPONENT)


def details(q: Quality, limits: QualityLimits) -> tuple[Reason, ...]:
    """What speaks against a face under these limits; empty when nothing does. Of an angle, how far it is from zero."""

    def low(code: str, text: str, measure: str) -> Reason | None:
        value, limit = getattr(q, measure), getattr(limits, f"min_{measure}")
        return Reason(code, text, measure, value, at_least=limit) if value is not None and value < limit else None

    def high(code: str, text: str, measure: str) -> Reason | None:
        value, limit = abs(getattr(q, measure)), getattr(limits, f"max_{measure}")
        return Reason(code, text, measure, value, at_most=limit) if value > limit else None

    eyes = low("eyes_covered", EYES_COVERED.advice, "eyes_visible")
    checked = (
        low("too_far", "come nearer", "face_px"),
        low("too_dark", "too dark", "brightness"),
        high("too_bright", "too bright", "brightness"),
        low("low_contrast", "too little contrast", "contrast"),
        low("blurred", BLURRED.advice, "sharpness"),
        high("turned_away", "turn to the camera", "yaw_deg"),
        high("not_at_eye_level", "hold the camera at eye level", "pitch_deg"),
        high("tilted", "hold the head upright", "roll_deg"),
        low("covered", COVERED.advice, "detector_score"),
        eyes or low("eyes_covered", EYES_COVERED.advice, "eye_contrast"),
        high("unclear_features", "turn to the camera", "landmark_residual"),
    )
    against = tuple(reason for reason in checked if reason)
    poor = low("poor_quality", "better light, nearer, and look at the camera", "score")
    return against or ((poor,) if poor else ())


def reasons(q: Quality, limits: QualityLimits) -> tuple[str, ...]:
    """The words of `details`, each once, as sentences a phone can show."""
    return _words(details(q, limits))


def _words(against: tuple[Reason, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(reason.text for reason in against))


def advised(quality: Quality, condition: str) -> Quality:
    """A quality with what helps a probe out of a condition, by its name; as it was where nothing has to be changed."""
    advice = CONDITIONS[condition].advice if condition else ""
    if not advice:
        return quality
    with_advice = (*quality.details, Reason(condition, advice))
    return replace(quality, reasons=_words(with_advice), details=with_advice)


def require(quality: Quality) -> None:
    """Refuse a face with any reason against it.

    Raises:
        LowQuality
    """
    if quality.details:
        raise LowQuality(quality.details)
