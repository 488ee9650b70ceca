"""Whichever way a picture is turned, its face is brought upright, or it is refused."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as Picture
from rest_framework.test import APIClient

from ml_models import runtime
from ml_models.engine.align import TEMPLATE
from ml_models.engine.detect import Detector, Settled
from ml_models.engine.errors import NotUpright
from ml_models.engine.lanes import ONE_LANE, Lanes
from ml_models.engine.types import DetectedFace, Image
from ml_models.engine.upright import stand
from ml_models.models import EnsembleConfig, Reference
from tests.conftest import Portraits
from tests.support.pictures import encoded, opened, playing_card
from tests.support.uploads import enroll, verify

UP, LEFT, DOWN, RIGHT = range(4)
Box = tuple[float, float, float, float]


class Compass(Detector):
    """A detector of one face, whose forehead is the picture's bright side: it gives upright landmarks, as YuNet does,
    and the scores that it was made with, by where the forehead is."""

    def __init__(self, scores: tuple[float, ...], in_picture: tuple[float, ...] | None = None) -> None:
        self.scores, self.in_picture = scores, in_picture or scores
        self.looked_in_turns = False

    def detect(self, image: Image, score_threshold: float | None = None, lanes: Lanes = ONE_LANE) -> list[DetectedFace]:
        halves = [part.mean() for part in np.split(image, 2, 0) + np.split(image, 2, 1)]
        side = (UP, DOWN, LEFT, RIGHT)[int(np.argmax(halves))]
        score = (self.in_picture if score_threshold is None else self.scores)[side]
        if score < (0.6 if score_threshold is None else score_threshold):
            return []
        # as large as it is in the crop that the landmarks make
        middle, width = image.shape[0] / 2, {128: 64, 160: 112}.get(len(image), 224)
        landmarks = ((TEMPLATE - 56) * (width / 112) + middle).astype(np.float32)
        return [DetectedFace((middle - width / 2, middle - width / 2, width, width), landmarks, score)]

    def detect_each(self, images: Sequence[Image], score_threshold: float) -> list[list[DetectedFace]]:
        self.looked_in_turns = True
        return [self.detect(image, score_threshold) for image in images]


def bright_above() -> Image:
    picture = np.full((400, 400, 3), 60, np.uint8)
    picture[:200] = 190
    return picture


@pytest.mark.parametrize(("score", "sure"), [(0.91, True), (0.905, False)])
def test_only_a_face_that_the_detector_is_not_sure_of_is_looked_at_in_four_turns(score: float, sure: bool) -> None:
    compass = Compass((score, 0.5, 0.5, 0.5))
    view = stand(compass, bright_above())
    assert (view.upright, compass.looked_in_turns) == (True, not sure)


def test_nor_one_that_is_not_level_however_sure() -> None:
    class Askew(Compass):
        def settle(self, image: Image, face: DetectedFace) -> Settled:
            face, mean_score = super().settle(image, face)
            across, down = (face.landmarks - 200).T
            return Settled(replace(face, landmarks=np.column_stack([across - down, across + down]) + 200), mean_score)

    compass = Askew((0.95, 0.5, 0.5, 0.5))
    stand(compass, bright_above())
    assert compass.looked_in_turns


@pytest.mark.parametrize("quarters", [UP, LEFT, DOWN, RIGHT])
@pytest.mark.parametrize(
    "in_picture", [(0.93, 0.7, 0.88, 0.7), (0.93, 0.3, 0.88, 0.3), (0.93, 0.3, 0.3, 0.3)], ids=["four", "two", "one"]
)
def test_a_picture_is_turned_until_its_face_stands(quarters: int, in_picture: tuple[float, ...]) -> None:
    compass = Compass((0.93, 0.5, 0.88, 0.4), in_picture)
    view = stand(compass, np.rot90(bright_above(), quarters))
    assert view.upright
    np.testing.assert_array_equal(view.image, bright_above())


@pytest.mark.parametrize("scores", [(0.9, 0.4, 0.9, 0.4), (0.9, 0.4, 0.898, 0.4), (0.91, 0.9, 0.91, 0.91)])
@pytest.mark.parametrize("quarters", [UP, DOWN])
def test_a_face_that_looks_as_good_in_another_turn_is_not_certain(scores: tuple[float, ...], quarters: int) -> None:
    assert not stand(Compass(scores), np.rot90(bright_above(), quarters)).upright


def test_a_face_that_cannot_be_made_out_alone_is_looked_at_from_nearer() -> None:
    class Nearsighted(Compass):
        def detect(
            self, image: Image, score_threshold: float | None = None, lanes: Lanes = ONE_LANE
        ) -> list[DetectedFace]:
            faces = super().detect(image, score_threshold)
            return [replace(face, score=0.2) for face in faces] if len(image) == 128 else faces

    view = stand(Nearsighted((0.93, 0.5, 0.88, 0.4)), np.rot90(bright_above(), DOWN))
    assert view.upright
    np.testing.assert_array_equal(view.image, bright_above())


class Honest(Compass):
    """One that gives a lying face landmarks that lie, and is certain of which way up it is there alone."""

    def detect(self, image: Image, score_threshold: float | None = None, lanes: Lanes = ONE_LANE) -> list[DetectedFace]:
        if len(image) == 400:  # the picture itself
            lies = int(image[:, :200].mean() > 150) - int(image[:, 200:].mean() > 150)
            self.scores = (0.93, 0.4, 0.5 if lies else 0.93, 0.4)
            (face,) = super().detect(image, score_threshold)
            across, down = (face.landmarks - 200).T
            turned = np.column_stack([lies * down, -lies * across]) if lies else face.landmarks - 200
            return [replace(face, landmarks=(turned + 200).astype(np.float32))]
        return super().detect(image, score_threshold)


@pytest.mark.parametrize("quarters", [UP, LEFT, DOWN, RIGHT])
def test_a_face_that_is_certain_only_where_it_lies_is_not_left_lying(quarters: int) -> None:
    view = stand(Honest((), (0.9,) * 4), np.rot90(bright_above(), quarters))
    assert view.upright
    np.testing.assert_array_equal(view.image, bright_above())


class Elsewhere(Compass):
    """One that sees somebody else only where the face hangs, and where it stands, perhaps, less of the face."""

    def __init__(self, standing: Box | None = None, other: Box = (0.0, 100.0, 90.0, 120.0)) -> None:
        super().__init__((0.9, 0.4, 0.7, 0.4))
        self.standing, self.other = standing, other

    def detect(self, image: Image, score_threshold: float | None = None, lanes: Lanes = ONE_LANE) -> list[DetectedFace]:
        faces = super().detect(image, score_threshold)
        if len(image) != 400:
            return faces
        if image[200:].mean() > 150:
            return [*faces, replace(faces[0], box=self.other)]
        return [replace(face, box=self.standing or face.box) for face in faces]


@pytest.mark.parametrize(("standing", "certain"), [(None, True), ((20.0, 20.0, 30.0, 30.0), False)])
def test_who_is_seen_only_in_the_picture_as_it_came_is_not_forgotten(standing: Box | None, certain: bool) -> None:
    view = stand(Elsewhere(standing), np.rot90(bright_above(), DOWN))
    assert (view.quarters, view.upright) == (DOWN, certain)
    assert view.faces[-1].box == (310.0, 180.0, 90.0, 120.0)


def test_a_second_box_about_a_face_that_hangs_is_nobody_else() -> None:
    """A profile that lies gets one beside its middle."""
    view = stand(Elsewhere(other=(20.0, 100.0, 90.0, 120.0)), np.rot90(bright_above(), DOWN))
    assert (view.quarters, view.upright, len(view.faces)) == (DOWN, True, 1)


def test_nobody_is_nobody_in_every_turn() -> None:
    assert stand(Compass((0.1, 0.1, 0.1, 0.1)), bright_above()).faces == ()


def turned(data: bytes, quarters: int) -> bytes:
    return encoded(opened(data).rotate(90 * quarters, expand=True), "PNG")


@pytest.mark.django_db
@pytest.mark.parametrize("quarters", [LEFT, DOWN, RIGHT])
def test_a_turned_picture_gives_the_upright_ones_embeddings(
    served: EnsembleConfig, portraits: Portraits, quarters: int
) -> None:
    pipeline = runtime.served(served.pk).pipeline
    for data in (portraits.eileen_collins, portraits.grace_hopper):
        upright, lying = pipeline.extract(data), pipeline.extract(turned(data, quarters))
        assert abs(lying.quality.roll_deg - upright.quality.roll_deg) < 2
        for name, vector in lying.vectors.items():
            assert float(vector @ upright.vectors[name]) > 0.99, name


@pytest.mark.django_db
@pytest.mark.parametrize("quarters", [LEFT, DOWN, RIGHT])
def test_a_picture_enrolled_turned_is_the_persons_and_nobody_elses(
    service: APIClient, served: EnsembleConfig, portraits: Portraits, quarters: int
) -> None:
    assert enroll(service, "child-1", turned(portraits.eileen_collins, quarters)).status_code == 201
    for other in range(4):
        assert verify(service, "child-1", turned(portraits.eileen_collins, other)).json()["decision"] == "match"
        assert verify(service, "child-1", turned(portraits.grace_hopper, other)).json()["decision"] == "no_match"


@pytest.mark.django_db
def test_a_face_with_two_foreheads_is_refused(service: APIClient, served: EnsembleConfig, portraits: Portraits) -> None:
    card = encoded(playing_card(opened(portraits.grace_hopper), 260, 242))
    with pytest.raises(NotUpright, match="Hold the camera upright"):
        runtime.served(served.pk).pipeline.extract(card)
    answer = enroll(service, "child-1", card)
    assert (answer.status_code, answer.json()["code"]) == (422, "not_upright")
    assert not Reference.objects.exists()


@pytest.mark.django_db
def test_a_person_beside_a_larger_print_that_hangs_is_not_overlooked(
    service: APIClient, served: EnsembleConfig, portraits: Portraits
) -> None:
    """Where the print stands, the person hangs, and is not found any more."""
    picture = opened(portraits.eileen_collins).resize((360, 360))
    beside = Picture.new("RGB", (1200, 900), (128, 128, 128))
    beside.paste(picture, (0, 300))
    printed = opened(portraits.grace_hopper).crop((60, 40, 452, 432)).resize((640, 640))
    beside.paste(printed.rotate(180), (420, 130))
    answer = enroll(service, "child-1", encoded(beside, quality=95))
    assert (answer.status_code, answer.json()["code"]) == (422, "multiple_faces")
    # the print by itself is turned
    assert enroll(service, "child-2", encoded(printed.rotate(180), quality=95)).status_code == 201
