"""A picture on its way through the networks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ml_models import artifacts
from ml_models.engine.detect import Detector
from ml_models.engine.errors import FaceTooSmall
from ml_models.engine.pipeline import Pipeline
from ml_models.engine.presentation import PresentationContract, PresentationDetector
from ml_models.engine.quality import VERIFY_LIMITS
from ml_models.engine.types import Presentation
from ml_models.models import Artifact
from tests.conftest import Portraits
from tests.support.networks import presentation_contract, tiny_presentation
from tests.support.pictures import encoded, opened, profile_that_swaps_red_and_green
from tests.support.served import DETECTOR

pytestmark = pytest.mark.django_db


@pytest.fixture
def pipeline(demo_pack: dict[str, Artifact]) -> Pipeline:
    passive = demo_pack["fr_liveness"]
    contract = PresentationContract.from_json(passive.contract)
    return Pipeline(
        Detector(artifacts.ensure_local(demo_pack[DETECTOR])),
        members={},
        presentation=(PresentationDetector(artifacts.ensure_local(passive), contract),),
    )


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_attacks_are_looked_for_in_the_picture_upright(pipeline: Pipeline, portraits: Portraits, quarters: int) -> None:
    image = opened(portraits.eileen_collins)
    turned = Image.fromarray(np.rot90(np.asarray(image), quarters))

    upright, righted = (pipeline.extract(encoded(each, "PNG")).presentation for each in (image, turned))

    assert upright is not None
    assert righted is not None
    assert righted.logit == pytest.approx(upright.logit, abs=1e-3)


@pytest.mark.parametrize("quarters", [0, 1])
def test_a_phones_large_picture_gives_the_face_that_a_small_one_does(
    pipeline: Pipeline, portraits: Portraits, quarters: int
) -> None:
    image = opened(portraits.eileen_collins).crop((64, 0, 448, 512))
    image = Image.fromarray(np.rot90(np.asarray(image), quarters))
    times = 4000 / max(image.size)
    small, large = (
        pipeline.extract(encoded(image.resize([round(side * scale) for side in image.size]), quality=95))
        for scale in (2, times)
    )
    # of 256; about as far as they move from one size of a picture to another
    assert np.abs(large.chip.landmarks - small.chip.landmarks).max() < 6
    assert small.presentation
    assert large.presentation
    assert large.presentation.logit == pytest.approx(small.presentation.logit, abs=2)
    # in pixels of the picture that the engine goes on with, 2000 of 4000, whatever it is reduced to after
    assert large.quality.face_px == pytest.approx(small.quality.face_px * 2000 / (2 * 512), rel=0.05)


@pytest.mark.parametrize("part", [(0, 0, 512, 512), (100, 60, 400, 360)], ids=["as it is", "halved"])
def test_a_large_pictures_colours_are_those_that_its_profile_means(
    pipeline: Pipeline, portraits: Portraits, part: tuple[int, int, int, int]
) -> None:
    image = opened(portraits.eileen_collins).crop(part).resize((1800, 1800))
    swapped = Image.fromarray(np.ascontiguousarray(np.asarray(image)[..., [1, 0, 2]]))
    plain = pipeline.extract(encoded(image, quality=95))
    converted = pipeline.extract(encoded(swapped, quality=95, icc_profile=profile_that_swaps_red_and_green()))
    assert np.abs(converted.chip.landmarks - plain.chip.landmarks).max() < 6
    means = [each.chip.image.reshape(-1, 3).mean(0) for each in (plain, converted)]
    assert means[1] == pytest.approx(means[0], abs=4)


def test_a_large_face_is_not_too_small_for_being_reduced(pipeline: Pipeline, portraits: Portraits) -> None:
    picture = encoded(opened(portraits.eileen_collins).resize((2048, 2048)))
    side = pipeline.extract(picture).quality.face_px
    for least, refused in ((0.95 * side, False), (1.05 * side, True)):
        limits = replace(VERIFY_LIMITS, min_face_px=least)
        if refused:
            with pytest.raises(FaceTooSmall):
                pipeline.extract(picture, limits)
        else:
            assert pipeline.look(picture, limits).details == ()


def test_whoever_does_not_ask_for_attacks_has_none_looked_for(pipeline: Pipeline, portraits: Portraits) -> None:
    extraction = pipeline.extract(portraits.eileen_collins, examine=False)
    assert extraction.presentation is None
    assert "presentation" not in extraction.timings_ms


def test_of_several_networks_the_mean_counts_and_none_where_one_fails_in_a_turned_picture_too(
    pipeline: Pipeline, portraits: Portraits, tmp_path: Path
) -> None:
    wide = presentation_contract(scale=4.0, live_index=1)
    other = PresentationDetector(tiny_presentation(tmp_path / "wide.onnx"), wide)
    broken = PresentationDetector(tiny_presentation(tmp_path / "broken.onnx", poison=True), wide)
    picture = encoded(opened(portraits.eileen_collins).rotate(90, expand=True))

    def seen(*detectors: PresentationDetector) -> Presentation | None:
        extraction = replace(pipeline, presentation=detectors).extract(picture)
        # one step, however many networks
        assert [step for step in extraction.timings_ms if "presentation" in step] == ["presentation"]
        return extraction.presentation

    one, another = (seen(each) for each in (*pipeline.presentation, other))
    both = seen(*pipeline.presentation, other)
    assert one
    assert another
    assert both
    assert abs(one.logit - another.logit) > 1
    assert both.logit == pytest.approx((one.logit + another.logit) / 2, abs=1e-9)
    assert seen(*pipeline.presentation, broken) is None
    assert seen(broken, other) is None
