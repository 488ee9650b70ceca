"""The network that looks for eyes: what it is shown, and what it makes of portraits and of things before the eyes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ml_models import artifacts
from ml_models.engine.errors import ContractMismatch, GoldenMismatch, InferenceFailed
from ml_models.engine.eyes import SIDE, EyeNetwork, EyesContract, eyes
from ml_models.engine.log_odds import check_golden
from ml_models.engine.pipeline import chip_crop
from ml_models.engine.types import Image
from ml_models.evaluation.pictures import glasses, unseen_coverings
from ml_models.evaluation.pictures.coverings import bar, knitted_hat, peaked_cap
from ml_models.evaluation.pictures.scene import Scene
from ml_models.models import Artifact
from tests.conftest import Portraits
from tests.support.networks import tiny_eyes
from tests.support.pictures import opened

CONTRACT = EyesContract("eyes", "covered")


@pytest.fixture
def packs(demo_pack: dict[str, Artifact]) -> EyeNetwork:
    network = artifacts.load(demo_pack["eyes"])
    assert isinstance(network, EyeNetwork)
    return network


@pytest.fixture
def crop_behind(demo_pack: dict[str, Artifact], portraits: Portraits) -> Callable[..., Image]:
    """A portrait's crop, with a covering drawn on by a seed."""
    from ml_models.engine.align import make_chip

    detector = artifacts.load(demo_pack["yunet_2023mar"])

    def crop(covering: Callable[..., Image] | None = None, seed: int = 0) -> Image:
        image = np.asarray(opened(portraits.eileen_collins))
        landmarks = detector.detect(image)[0].landmarks
        if covering:
            image = covering(Scene.of(image, landmarks), np.random.default_rng(seed))
        return chip_crop(make_chip(image, landmarks))

    return crop


def test_each_eye_is_in_the_middle_of_its_square_with_the_nose_on_one_side() -> None:
    crop = np.zeros((112, 112, 3), np.uint8)
    crop[52, 38], crop[52, 74] = 200, 100
    crop[70, 56] = 255  # the nose, in both squares' lower corner if they were larger
    left, right = eyes(crop)
    assert left.shape == right.shape == (SIDE, SIDE)
    assert (left[20, 20], right[20, 19]) == (200, 100)
    assert left[38, 38] == right[38, 37] == 255


@pytest.mark.django_db
def test_eyes_are_seen_bare_and_behind_clear_glasses_and_not_behind_what_is_dark(
    packs: EyeNetwork, crop_behind: Callable[..., Image]
) -> None:
    assert packs.probability(crop_behind()) < 0.1
    for shape in (glasses.clear_glasses, glasses.rimless, glasses.browline):
        assert max(packs.probability(crop_behind(shape, seed)) for seed in range(4)) < 0.4, shape
    hiding = (*glasses.DARK, bar, peaked_cap, knitted_hat, unseen_coverings.butterfly_sunglasses)
    for shape in hiding:
        covered = [packs.probability(crop_behind(shape, seed)) for seed in range(4)]
        assert sorted(covered)[1] > 0.6, shape  # three of four draws: some lenses are thin


@pytest.mark.django_db
def test_one_eye_that_is_covered_covers_no_face(packs: EyeNetwork, crop_behind: Callable[..., Image]) -> None:
    crop = crop_behind().copy()
    bare = packs.logits(crop)
    crop[32:72, 58:94] = 90
    half = packs.logits(crop)
    assert half[0] == pytest.approx(bare[0], abs=1e-4)
    assert half[1] > 0 > bare[1]


def test_both_log_odds_count_by_their_mean(tmp_path: Path) -> None:
    network = EyeNetwork(tiny_eyes(tmp_path / "eyes.onnx"), CONTRACT)
    crop = np.zeros((112, 112, 3), np.uint8)
    assert network.probability(crop) == pytest.approx(0.5)
    crop[:, :56] = 100  # left of the nose: log-odds of 1 for the one eye, some for the other
    logits = network.logits(crop)
    assert logits[0] > logits[1]
    assert network.probability(crop) == pytest.approx(1 / (1 + np.exp(-logits.mean())))


def test_what_is_no_network_for_eyes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractMismatch, match="input shape"):
        EyeNetwork(tiny_eyes(tmp_path / "small.onnx", side=32), CONTRACT)
    with pytest.raises(ContractMismatch, match="one float tensor named picture"):
        EyeNetwork(tiny_eyes(tmp_path / "eyes.onnx"), EyesContract("picture", "covered"))
    for wrong in ({"kind": "embedder"}, {"side": 40}):
        with pytest.raises(ContractMismatch):
            EyesContract.from_json({**CONTRACT.to_json(), **wrong})
    assert EyesContract.from_json({**CONTRACT.to_json(), "family": "eyes"}) == CONTRACT


def test_what_is_not_a_number_is_a_failure_and_other_answers_are_refused(tmp_path: Path) -> None:
    sound = EyeNetwork(tiny_eyes(tmp_path / "eyes.onnx"), CONTRACT)
    check_golden(sound, sound.golden)
    with pytest.raises(GoldenMismatch):
        check_golden(sound, sound.golden + np.float32(0.02))
    with pytest.raises(GoldenMismatch):
        check_golden(sound, np.full_like(sound.golden, np.nan))
    with pytest.raises(GoldenMismatch, match="of shape"):
        check_golden(sound, np.zeros((2, 3), np.float32))
    broken = EyeNetwork(tiny_eyes(tmp_path / "broken.onnx", poison=True), CONTRACT)
    with pytest.raises(InferenceFailed):
        broken.probability(np.zeros((112, 112, 3), np.uint8))
