"""OpenVINO finds OpenCV's faces: the same ones, in the same order, in the same places."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import pytest

from ml_models import artifacts
from ml_models.engine import yunet
from ml_models.engine.choice import golden_scene, prove_same_faces
from ml_models.engine.detect import Detector
from ml_models.engine.errors import GoldenMismatch, InferenceFailed
from ml_models.engine.inference import OpenVinoGraph, why_not_openvino
from ml_models.engine.lanes import OneLane
from ml_models.engine.types import Image
from ml_models.engine.yunet import SIZES, TURNED_SIZE, TURNS, OpenCvYuNet, OpenVinoYuNet
from ml_models.models import Artifact
from tests.conftest import Portraits
from tests.support.pictures import opened
from tests.support.served import DETECTOR

pytestmark = [pytest.mark.django_db, pytest.mark.skipif(bool(why_not_openvino()), reason=why_not_openvino())]

T = TypeVar("T")


@pytest.fixture
def file(demo_pack: dict[str, Artifact]) -> Path:
    return artifacts.ensure_local(demo_pack[DETECTOR])


def scenes(portraits: Portraits, size: tuple[int, int], count: int) -> list[Image]:
    """Two portraits turned, enlarged, moved, darkened and blurred at random: one face, several, or none."""
    rng = np.random.default_rng(sum(size))
    sources = [np.asarray(opened(data)) for data in (portraits.eileen_collins, portraits.grace_hopper)]
    made = []
    for _ in range(count):
        scene = np.full((size[1], size[0], 3), rng.integers(256), np.uint8)
        for _ in range(rng.integers(1, 4)):
            source = sources[rng.integers(2)]
            fit = min(size) / max(source.shape[:2]) * rng.uniform(0.4, 2.0)
            matrix = cv2.getRotationMatrix2D((source.shape[1] / 2, source.shape[0] / 2), rng.uniform(-40, 40), fit)
            matrix[:, 2] += np.array(size) * rng.uniform(0, 1, 2) - np.array(source.shape[1::-1]) / 2
            cv2.warpAffine(source, matrix, size, dst=scene, borderMode=cv2.BORDER_TRANSPARENT)
        dark = np.clip(scene * rng.uniform(0.2, 1.2), 0, 255).astype(np.uint8)
        made.append(cv2.GaussianBlur(dark, (0, 0), rng.uniform(0.3, 3)))
    return made


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_both_engines_find_the_same_faces(file: Path, portraits: Portraits, size: tuple[int, int]) -> None:
    ours = OpenCvYuNet(file)
    theirs = OpenVinoYuNet(file, others=ours, sizes=[size])
    found = set()
    for scene in scenes(portraits, size, 25):
        for threshold in (0.6, 0.1):  # the low one leaves overlapping boxes to choose from
            wanted, given = ours.find(scene, threshold), theirs.find(scene, threshold)
            assert given.shape == wanted.shape
            np.testing.assert_allclose(given, wanted, atol=1e-3)
            np.testing.assert_array_equal(theirs.find(scene, threshold, threads=2), given)
            found.add(len(wanted))
    assert {0, 1, 2} <= found


def test_a_face_in_four_turns_is_looked_at_together(file: Path, portraits: Portraits) -> None:
    ours = OpenCvYuNet(file)
    theirs = OpenVinoYuNet(file, others=ours, sizes=[])
    found = set()
    for scene in scenes(portraits, TURNED_SIZE, 25):
        turns = [np.ascontiguousarray(np.rot90(scene, quarters)) for quarters in range(TURNS)]
        for given, turn in zip(theirs.find_each(turns, 0.02), turns, strict=True):
            wanted = ours.find(turn, 0.02)
            assert given.shape == wanted.shape
            np.testing.assert_allclose(given, wanted, atol=1e-3)
            found.add(len(wanted))
    assert len(found) > 2
    # another size, or another number, goes one by one
    nearer = golden_scene((160, 160))
    for pictures in ([nearer] * TURNS, turns[:3]):
        for given, picture in zip(theirs.find_each(pictures, 0.5), pictures, strict=True):
            np.testing.assert_array_equal(given, ours.find(picture, 0.5))


def test_a_picture_of_another_size_goes_to_the_other_engine(file: Path, portraits: Portraits) -> None:
    class Other:
        engine = "other"

        def spreads(self, size: tuple[int, int]) -> bool:
            return False

        def find(self, image: Image, score_threshold: float, threads: int = 1) -> np.ndarray:
            asked.append(image.shape)
            return np.zeros((0, 15), np.float32)

        def find_each(self, images: Sequence[Image], score_threshold: float) -> list[np.ndarray]:
            return [self.find(image, score_threshold) for image in images]

    asked: list[tuple[int, ...]] = []
    network = OpenVinoYuNet(file, others=Other(), sizes=[(320, 320)])
    assert len(network.find(golden_scene((320, 320)), 0.5)) == 2
    assert len(network.find(golden_scene((320, 352)), 0.5)) == 0
    assert asked == [(352, 320, 3)]


def test_two_threads_find_what_one_finds(file: Path) -> None:
    network = OpenVinoYuNet(file, others=OpenCvYuNet(file), sizes=[(320, 320)])
    pictures = [golden_scene((320, 320)), np.zeros((320, 320, 3), np.uint8), golden_scene((320, 320))[:, ::-1].copy()]
    alone = [network.find(picture, 0.5) for picture in pictures]
    assert [len(rows) for rows in alone] == [2, 0, 2]
    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(lambda i: np.array_equal(network.find(pictures[i % 3], 0.5), alone[i % 3]), range(120))
    assert all(answers)


class Idle(OneLane):
    """A second core is idle whenever it is asked for."""

    def __init__(self) -> None:
        self.asked = 0

    def spread(self, work: Callable[[int], T]) -> T:
        self.asked += 1
        return work(2)


def test_a_second_core_is_asked_for_where_the_network_makes_use_of_it(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(yunet, "cores", lambda: 2)
    opencv = OpenCvYuNet(file)
    openvino = OpenVinoYuNet(file, others=opencv, sizes=[(320, 320), (512, 512)])
    for network, size, asked in (
        (openvino, (512, 512), 1),
        (openvino, (320, 320), 0),  # two threads gain nothing
        (openvino, (512, 480), 0),  # OpenCV's
        (opencv, (512, 512), 0),
    ):
        lanes, detector, scene = Idle(), Detector(file, network=network), golden_scene(size)
        alone = [face.box for face in detector.detect(scene)]
        assert [face.box for face in detector.detect(scene, lanes=lanes)] == alone
        assert lanes.asked == asked


def test_what_is_not_a_number_is_an_error_and_no_face(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, run = OpenVinoYuNet(file, others=OpenCvYuNet(file), sizes=[(320, 320)]), OpenVinoGraph.run
    monkeypatch.setattr(OpenVinoGraph, "run", lambda graph, batch: [a * np.nan for a in run(graph, batch)])
    with pytest.raises(InferenceFailed, match="not finite"):
        network.find(golden_scene((320, 320)), 0.5)


def test_a_detector_that_finds_other_faces_is_refused(file: Path) -> None:
    class Shifted(OpenCvYuNet):
        def find(self, image: Image, score_threshold: float, threads: int = 1) -> np.ndarray:
            return super().find(image, score_threshold) + np.float32(0.01)

    class Blind(OpenCvYuNet):
        def find(self, image: Image, score_threshold: float, threads: int = 1) -> np.ndarray:
            return super().find(np.zeros_like(image), score_threshold)

    ours = OpenCvYuNet(file)
    prove_same_faces(ours, OpenVinoYuNet(file, others=ours))

    class Upturned(OpenVinoYuNet):
        """Right but for the faces in four turns."""

        def find_each(self, images: Sequence[Image], score_threshold: float) -> list[np.ndarray]:
            return super().find_each(images, score_threshold)[::-1]

    class WrongOnTwo(OpenVinoYuNet):
        """Right but on two threads."""

        def find(self, image: Image, score_threshold: float, threads: int = 1) -> np.ndarray:
            return super().find(image, score_threshold) + np.float32(0.01 * (threads - 1))

    for other in (Shifted(file), Blind(file), Upturned(file, others=ours), WrongOnTwo(file, others=ours)):
        with pytest.raises(GoldenMismatch):
            prove_same_faces(ours, other)
    with pytest.raises(GoldenMismatch):  # nothing seen is nothing proven
        prove_same_faces(Blind(file), Blind(file))
