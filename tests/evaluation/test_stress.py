"""Each stress takes what it says it takes, the same everywhere, and leaves the rest of the picture alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import cv2
import numpy as np
import pytest

from ml_models import artifacts
from ml_models.engine.align import align
from ml_models.engine.decode import decode
from ml_models.engine.detect import Detector
from ml_models.engine.types import DetectedFace, Image, Landmarks
from ml_models.evaluation.pictures import glasses, stress
from ml_models.evaluation.pictures.scene import Scene
from ml_models.models import EnsembleConfig
from tests.conftest import Portraits
from tests.support.pictures import encoded, faceless, opened


@pytest.fixture
def detector(served: EnsembleConfig) -> Detector:
    detector = artifacts.load(served.detector)
    assert isinstance(detector, Detector)
    return detector


@pytest.fixture
def face(detector: Detector, portraits: Portraits) -> DetectedFace:
    return detector.detect(decode(portraits.grace_hopper))[0]


@pytest.fixture
def under(detector: Detector, portraits: Portraits) -> Callable[..., Image]:
    """The portrait under one stress."""

    def stressed(name: str, **options: int) -> Image:
        return decode(stress.apply(name, portraits.grace_hopper, detector, **options))

    return stressed


def sharpness(image: Image, landmarks: Landmarks) -> float:
    grey = cv2.cvtColor(align(image, landmarks), cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_64F).var())


def at(image: Image, point: Landmarks) -> Image:
    x, y = point.round().astype(int)
    return image[y - 2 : y + 3, x - 2 : x + 3].astype(int).mean((0, 1))


@pytest.mark.parametrize("name", [*stress.STRESSES, *stress.HELD_OUT])
def test_a_stress_changes_the_picture_and_always_in_the_same_way(
    name: str, under: Callable[..., Image], portraits: Portraits
) -> None:
    clean, once = decode(portraits.grace_hopper), under(name)
    assert once.shape == clean.shape
    assert np.abs(once.astype(int) - clean).mean() > 0.1  # of the whole picture; rimless glasses change 0.2
    assert np.array_equal(once, under(name))


@pytest.mark.parametrize("name", ["low_light", "motion_blur", "rotation", "sunglasses"])
def test_another_seed_is_another_draw(name: str, under: Callable[..., Image]) -> None:
    assert not np.array_equal(under(name), under(name, seed=1))


def test_low_light_is_dark(under: Callable[..., Image], portraits: Portraits, face: DetectedFace) -> None:
    clean, dark = (align(image, face.landmarks) for image in (decode(portraits.grace_hopper), under("low_light")))
    assert 0.15 < dark.mean() / clean.mean() < 0.5  # three stops are a factor 8 in light, 2.4 to 3 in sRGB's levels


def test_low_light_has_the_noise_of_so_few_electrons() -> None:
    grey = np.full((200, 200, 3), 188, np.uint8)  # half of white, in linear light
    dark = stress.low_light(Scene(grey, np.zeros((5, 2), np.float32), 50.0), np.random.default_rng(0))
    light = np.where(dark <= 10, dark / 255 / 12.92, ((dark / 255 + 0.055) / 1.055) ** 2.4)
    assert light.mean() == pytest.approx(0.5 / 8, rel=0.03)
    assert light.std() / light.mean() == pytest.approx(np.sqrt(50 + 3**2) / 50, rel=0.05)


def test_backlight_darkens_the_face_and_not_the_background(
    under: Callable[..., Image], portraits: Portraits, face: DetectedFace
) -> None:
    clean, lit = decode(portraits.grace_hopper), under("backlight")
    assert align(lit, face.landmarks).mean() < 0.75 * align(clean, face.landmarks).mean()
    assert lit[:20, :20].mean() > clean[:20, :20].mean()


@pytest.mark.parametrize("name", ["motion_blur", "defocus_blur", "down_sampling"])
def test_blur_takes_the_fine_detail(
    name: str, under: Callable[..., Image], portraits: Portraits, face: DetectedFace
) -> None:
    clean = sharpness(decode(portraits.grace_hopper), face.landmarks)
    assert sharpness(under(name), face.landmarks) < 0.5 * clean


def test_a_blur_is_as_hard_on_a_large_face_as_on_a_small_one(detector: Detector, portraits: Portraits) -> None:
    def loss(scale: float) -> float:
        image = cv2.resize(decode(portraits.grace_hopper), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()
        blurred = decode(stress.apply("defocus_blur", data, detector))
        landmarks = detector.detect(image)[0].landmarks
        return float(np.abs(align(blurred, landmarks).astype(int) - align(image, landmarks)).mean())

    assert loss(0.5) == pytest.approx(loss(1.0), rel=0.25)


def test_rotation_turns_the_face(under: Callable[..., Image], detector: Detector) -> None:
    eyes = np.diff(detector.detect(under("rotation"))[0].landmarks[:2], axis=0)[0]
    assert 15 < abs(np.degrees(np.arctan2(eyes[1], eyes[0]))) < 45


def test_a_mask_covers_the_mouth_and_leaves_the_eyes(
    under: Callable[..., Image], portraits: Portraits, face: DetectedFace
) -> None:
    clean, masked = decode(portraits.grace_hopper), under("face_mask")
    for eye in face.landmarks[:2]:
        assert np.array_equal(at(masked, eye), at(clean, eye))
    for corner in face.landmarks[3:]:
        assert np.abs(at(masked, corner) - at(clean, corner)).max() > 20


def test_sunglasses_cover_the_eyes_and_leave_the_mouth(
    under: Callable[..., Image], portraits: Portraits, face: DetectedFace
) -> None:
    clean, covered = decode(portraits.grace_hopper), under("sunglasses")
    dark = glasses.dark_glasses(Scene.of(clean, face.landmarks), np.random.default_rng(0))
    for eye in face.landmarks[:2]:
        assert np.abs(at(covered, eye) - at(clean, eye)).max() > 20  # of some shapes the lenses mirror
        assert at(dark, eye).max() < 0.6 * at(clean, eye).max()
    for corner in face.landmarks[3:]:
        assert np.array_equal(at(covered, corner), at(clean, corner))


def test_clear_glasses_leave_the_eyes_to_be_seen(
    under: Callable[..., Image], portraits: Portraits, face: DetectedFace
) -> None:
    clean, worn = decode(portraits.grace_hopper), under("spectacles")
    for eye in face.landmarks[:2]:
        assert (at(worn, eye) >= 0.65 * at(clean, eye)).all()


def test_pictures_of_one_design_show_the_very_same_covering(detector: Detector, portraits: Portraits) -> None:
    """Or two strangers in the same glasses would hardly ever be compared."""
    image = opened(portraits.grace_hopper)
    by_design: dict[int, list[Image]] = {}
    for quality in range(60, 96):
        data = encoded(image, quality=quality)
        design = stress.design("eyes_barred", hashlib.sha256(data).hexdigest())
        by_design.setdefault(design, []).append(align_again(decode(stress.apply("eyes_barred", data, detector))))
    assert 5 < len(by_design) <= stress.DESIGNS

    def apart(a: Image, b: Image) -> float:
        return float(np.abs(a.astype(int) - b).mean())

    within = [apart(group[0], other) for group in by_design.values() for other in group[1:]]
    firsts = [group[0] for group in by_design.values()]
    assert max(within) < min(apart(firsts[0], other) for other in firsts[1:])


def align_again(image: Image) -> Image:
    return cv2.resize(image, (128, 128), interpolation=cv2.INTER_AREA)


def test_the_designs_of_a_covering_take_its_shapes_in_turn(
    detector: Detector, portraits: Portraits, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: set[int] = set()

    def noting(nth: int) -> stress.Stress:
        def draw(scene: Scene, rng: np.random.Generator) -> Image:
            drawn.add(nth)
            return scene.image

        return draw

    monkeypatch.setitem(stress.SHAPES, "eyes_barred", [noting(nth) for nth in range(4)])
    for quality in range(60, 90):
        stress.apply("eyes_barred", encoded(opened(portraits.grace_hopper), quality=quality), detector)
    assert drawn == {0, 1, 2, 3}


def test_a_stress_that_draws_nothing_has_one_design() -> None:
    assert {stress.design("motion_blur", f"{n:08x}") for n in range(50)} == {0}


def test_a_picture_without_a_face_stays_what_it_is(detector: Detector) -> None:
    for data in (encoded(faceless()), b"no picture"):
        assert stress.apply("face_mask", data, detector) == data


def test_an_unknown_stress_is_no_stress(detector: Detector, portraits: Portraits) -> None:
    with pytest.raises(KeyError):
        stress.apply("fog", portraits.grace_hopper, detector)
