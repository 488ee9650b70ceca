import numpy as np
import pytest
from PIL import Image
from rest_framework.test import APIClient

from ml_models import runtime
from ml_models.engine.align import TEMPLATE
from ml_models.engine.detect import Detector, prominence, the_one_face
from ml_models.engine.errors import FaceTooSmall, InferenceFailed, MultipleFaces, NoFaceFound
from ml_models.engine.lanes import ONE_LANE, Lanes
from ml_models.engine.quality import ENROLL_LIMITS
from ml_models.engine.types import DetectedFace
from ml_models.models import EnsembleConfig
from tests.conftest import Portraits
from tests.support.pictures import encoded, opened
from tests.support.uploads import enroll

SHAPE = (480, 640, 3)


def face(x: float, y: float, side: float) -> DetectedFace:
    """A square face around a point."""
    return DetectedFace((x - side / 2, y - side / 2, side, side), np.zeros((5, 2), np.float32), 0.9)


def test_a_face_alone_is_the_one_wherever_it_is() -> None:
    for only in (face(320, 240, 100), face(60, 60, 100), face(600, 450, 60)):
        assert the_one_face([only], SHAPE, 40, 0.07) is only


def test_two_people_side_by_side_are_refused() -> None:
    with pytest.raises(MultipleFaces, match="2 faces"):
        the_one_face([face(180, 240, 120), face(460, 240, 120)], SHAPE, 40, 0.07)
    with pytest.raises(MultipleFaces, match="2 faces"):
        the_one_face([face(200, 240, 160), face(430, 200, 80)], SHAPE, 40, 0.07)


def test_somebody_at_the_edge_is_a_bystander() -> None:
    child, adult = face(325, 245, 110), face(570, 150, 95)
    assert the_one_face([adult, child], SHAPE, 40, 0.07) is child
    for limit in (0.0, ENROLL_LIMITS.bystander_ratio):
        with pytest.raises(MultipleFaces):
            the_one_face([adult, child], SHAPE, 40, limit)
    assert the_one_face([face(570, 150, 25), child], SHAPE, 40, ENROLL_LIMITS.bystander_ratio) is child


@pytest.mark.parametrize("side", [120, 60, 55])
def test_nobody_is_a_bystander_who_is_larger_or_may_be(side: float) -> None:
    printed, person = face(320, 240, 60), face(600, 60, side)
    for limit in (0.07, 0.5, 1.0):
        with pytest.raises(MultipleFaces, match="2 faces"):
            the_one_face([person, printed], SHAPE, 40, limit)
    assert the_one_face([person, printed], SHAPE, 40, np.inf) is printed


@pytest.mark.django_db
def test_a_print_in_the_middle_is_not_enrolled_in_place_of_the_person(
    service: APIClient, served: EnsembleConfig, portraits: Portraits
) -> None:
    # her face is 178 pixels wide and far from the middle, the other 85 and in it
    picture = opened(portraits.eileen_collins).resize((1024, 1024)).crop((250, 60, 1274, 1084))
    printed = opened(portraits.grace_hopper).crop((147, 106, 387, 346)).resize((120, 120))
    picture.paste(printed, (452, 452))
    answer = enroll(service, "child-1", encoded(picture, quality=95))
    assert (answer.status_code, answer.json()["code"]) == (422, "multiple_faces")


def test_nobody_and_somebody_too_far_away_are_refused() -> None:
    with pytest.raises(NoFaceFound):
        the_one_face([], SHAPE, 40, 0.07)
    with pytest.raises(FaceTooSmall):
        the_one_face([face(320, 240, 39)], SHAPE, 40, 0.07)


def test_prominence_grows_with_size_and_towards_the_middle() -> None:
    assert prominence(face(320, 240, 120), SHAPE) > prominence(face(320, 240, 100), SHAPE)
    assert prominence(face(320, 240, 100), SHAPE) > prominence(face(380, 240, 100), SHAPE)


class Looking(Detector):
    """A stand-in for the detector. Each list holds the faces that one look finds; a face is given by its distance from
    the previous look's landmarks, in pixels of the crop. `sides` collects the sides of the pictures looked at."""

    def __init__(self, *looks: list[float]) -> None:
        self.looks = list(looks)
        self.sides: list[int] = []

    def detect(
        self, image: np.ndarray, score_threshold: float | None = None, lanes: Lanes = ONE_LANE
    ) -> list[DetectedFace]:
        side = image.shape[0]
        self.sides.append(side)
        scale = side * 0.7 / 112
        places = [(TEMPLATE - 56 + shift) * scale + side / 2 for shift in self.looks.pop(0)]
        corners = [(place.mean(0) - side / 4).tolist() for place in places]
        return [
            DetectedFace((x, y, side / 2, side / 2), place.astype(np.float32), 0.8)
            for (x, y), place in zip(corners, places, strict=True)
        ]


FIRST = DetectedFace((100, 100, 112, 112), (TEMPLATE + 100).astype(np.float32), 0.9)
PICTURE = np.zeros((300, 300, 3), np.uint8)
# further from the middle than a quarter of the picture
ELSEWHERE = 60.0


@pytest.mark.parametrize(
    ("looks", "sides", "moved"),
    [
        ([[4], [6]], [160, 320], 10),
        ([[9], [-8], [4], [8], [6]], [160, 160, 160, 320, 320], 19),
        ([[9]] * 4 + [[-8]] * 3, [160] * 4 + [320] * 3, 12),
    ],
    ids=["settled at once", "in the end", "never"],
)
def test_a_face_is_looked_at_until_its_landmarks_hardly_move(
    looks: list[list[float]], sides: list[int], moved: float
) -> None:
    looking = Looking(*looks)
    settled = looking.settle(PICTURE, FIRST).face
    assert looking.sides == sides
    np.testing.assert_allclose(settled.landmarks, TEMPLATE + 100 + moved, atol=0.01)
    assert (settled.box, settled.score) == (FIRST.box, FIRST.score)


def test_a_look_that_finds_nobody_or_somebody_else_changes_nothing() -> None:
    nobody: list[list[float]] = [[], []]
    for looks in (nobody, [[ELSEWHERE], [ELSEWHERE]]):
        settled, mean_score = Looking(*looks).settle(PICTURE, FIRST)
        assert settled.landmarks.tolist() == FIRST.landmarks.tolist()
        assert mean_score == pytest.approx(FIRST.score / 3)
    # of several the one in the middle
    settled, mean_score = Looking([ELSEWHERE, 1], [ELSEWHERE, 0]).settle(PICTURE, FIRST)
    np.testing.assert_allclose(settled.landmarks, TEMPLATE + 101, atol=0.01)


@pytest.mark.django_db
@pytest.mark.parametrize("angle", [-50, -25, 25, 50])
def test_a_tilted_head_is_found_as_it_stands(served: EnsembleConfig, portraits: Portraits, angle: int) -> None:
    pipeline = runtime.served(served.pk).pipeline
    for data in (portraits.eileen_collins, portraits.grace_hopper):
        straight = pipeline.extract(data)
        grey = opened(data).rotate(angle, Image.Resampling.BICUBIC, fillcolor=(128, 128, 128))
        tilted = pipeline.extract(encoded(grey, quality=95))
        assert tilted.quality.roll_deg - straight.quality.roll_deg == pytest.approx(-angle, abs=8)
        for name, vector in tilted.vectors.items():
            assert float(vector @ straight.vectors[name]) > 0.9, name


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_detector_that_gives_no_numbers_is_an_error_and_finds_nobody(
    monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    class Broken:
        def setInputSize(self, size: tuple[int, int]) -> None: ...

        def setScoreThreshold(self, score: float) -> None: ...

        def detect(self, image: np.ndarray) -> tuple[int, np.ndarray]:
            return 1, np.full((1, 15), value, np.float32)

    monkeypatch.setattr("cv2.FaceDetectorYN.create", lambda *_: Broken())
    with pytest.raises(InferenceFailed, match="not finite"):
        Detector("any.onnx").detect(PICTURE)
