"""A picture on its way through the networks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ml_models import artifacts
from ml_models.engine.detect import Detector
from ml_models.engine.pipeline import Pipeline
from ml_models.engine.presentation import PresentationContract, PresentationDetector
from ml_models.engine.types import Presentation
from ml_models.models import Artifact
from tests.conftest import Portraits
from tests.support.networks import presentation_contract, tiny_presentation
from tests.support.pictures import encoded, opened
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
