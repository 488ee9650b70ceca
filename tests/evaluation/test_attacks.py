"""Attacks are drawn where they say, the same each time."""

import math

import numpy as np
import pytest

from ml_models.engine.align import TEMPLATE
from ml_models.engine.types import Image
from ml_models.evaluation.pictures import attacks
from ml_models.evaluation.pictures.scene import Scene
from tests.support.pictures import faceless

# a template's crop in the middle of a picture, twice as large
LANDMARKS = TEMPLATE * 2 + np.float32(100)
GROUND = (96, 104, 110)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene.of(np.asarray(faceless(424, 424)), LANDMARKS)


def drawn(name: str, scene: Scene, seed: int) -> Image:
    return attacks.SPECIES[name](scene, np.random.default_rng(seed))


@pytest.mark.parametrize("name", attacks.SPECIES)
def test_a_seed_draws_the_same_attack_and_another_one_another(name: str, scene: Scene) -> None:
    once = drawn(name, scene, 1)
    assert once.dtype == np.uint8
    np.testing.assert_array_equal(drawn(name, scene, 1), once)
    other = drawn(name, scene, 2)
    assert other.shape != once.shape or not np.array_equal(other, once)


def test_an_outline_leaves_the_head_and_nothing_around_it(scene: Scene) -> None:
    sheet = attacks.cut(scene, scene.image, outline=True, eyes=False, shadow=1.0)
    np.testing.assert_array_equal(sheet[..., :3], scene.image)
    assert all(sheet[y, x, 3] == 255 for x, y in LANDMARKS.round().astype(int))
    assert sheet[:10, :, 3].max() == sheet[-10:, :, 3].max() == sheet[:, :10, 3].max() == 0
    assert 0.2 < (sheet[..., 3] > 127).mean() < 0.3
    held = attacks.held(sheet)
    np.testing.assert_array_equal(held[100, 100], GROUND)
    # the whole sheet reaches there
    assert not np.array_equal(attacks.held(scene.image)[100, 100], GROUND)


def test_behind_the_holes_are_eyes_that_were_not_printed(scene: Scene) -> None:
    printed = np.zeros_like(scene.image)
    sheet = attacks.cut(scene, printed, outline=False, eyes=True, shadow=0.5)
    assert sheet[..., 3].min() == 255
    for x, y in LANDMARKS[:2].round().astype(int):
        np.testing.assert_allclose(sheet[y, x, :3], scene.image[y, x] / 2, atol=1)
    for x, y in LANDMARKS[2:].round().astype(int):
        assert sheet[y, x, :3].max() == 0


def test_a_sheet_that_is_bent_is_narrower(scene: Scene) -> None:
    wide, narrow = (
        np.any(attacks.held(scene.image, radius_cm=radius) != GROUND, axis=2).sum() for radius in (math.inf, 8.0)
    )
    assert narrow < 0.98 * wide
