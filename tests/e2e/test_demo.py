"""The demo's conditions are as hard as they are said to be, and a wrong answer fails it."""

import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageStat
from PIL.JpegImagePlugin import JpegImageFile

from devstack import demo
from ml_models.engine.align import align
from ml_models.engine.decode import decode
from ml_models.engine.detect import Detector
from tests.conftest import Portraits

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("demo_pack")]


@pytest.fixture
def photo(portraits: Portraits) -> Image.Image:
    return demo.opened(portraits.eileen_collins)


@pytest.fixture
def detector(demo_pack: Any) -> Detector:
    return Detector(demo.detector_file())


def luminance(image: Image.Image) -> float:
    return ImageStat.Stat(image.convert("L")).mean[0]


def test_the_dim_picture_has_a_mean_luminance_of_at_most_40_also_on_the_face(
    photo: Image.Image, detector: Detector
) -> None:
    dim = demo.opened(demo.dim(photo))
    x, y, w, h = detector.detect(np.asarray(dim))[0].box
    assert luminance(dim) <= 40
    assert luminance(dim.crop((int(x), int(y), int(x + w), int(y + h)))) <= 40


def test_the_blurred_picture_is_blurred_by_2_px_on_the_crop(photo: Image.Image, detector: Detector) -> None:
    landmarks = detector.detect(np.asarray(photo))[0].landmarks
    sharp = align(np.asarray(photo), landmarks)
    blurred = align(np.asarray(demo.opened(demo.blurred(photo))), landmarks)

    def detail(crop: Any) -> float:
        grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
        return float(sum((cv2.Sobel(grey, cv2.CV_64F, *axis) ** 2).mean() for axis in ((1, 0), (0, 1))))

    assert detail(blurred) <= detail(cv2.GaussianBlur(sharp, (0, 0), 2.0))


def test_the_recompressed_picture_is_no_better_than_jpeg_quality_30(photo: Image.Image) -> None:
    (attempt,) = (a for a in demo.genuine("s", photo, "photo") if a.asked.endswith("recompressed"))
    tables = JpegImageFile(io.BytesIO(attempt.picture)).quantization
    for index, table in JpegImageFile(io.BytesIO(demo.encoded(photo, quality=30))).quantization.items():
        assert np.all(np.array(tables[index]) >= np.array(table))


def test_the_turned_picture_is_upright_only_when_its_exif_tag_is_read(photo: Image.Image) -> None:
    turned = demo.turned(photo)
    assert Image.open(io.BytesIO(turned)).getexif()[0x0112] == 6
    assert np.abs(decode(turned).astype(int) - np.asarray(photo)).mean() < 3
    assert np.abs(np.asarray(demo.opened(turned)).astype(int) - np.asarray(photo)).mean() > 30


class Agreeable(BaseHTTPRequestHandler):
    """A service that finds that everybody is who they claim to be."""

    def _answer(self, body: dict[str, Any]) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_POST(self) -> None:
        steps = [{"step": step} for step in ("front", "left", "right")]
        challenge = {"challenge_id": "c", "nonce": "n", "steps": steps}
        match = {"decision": "match", "config_version": 5}
        answers: dict[str, dict[str, Any]] = {"verify": match, "challenges": challenge}
        self._answer(answers.get(self.path.rsplit("/", 1)[-1], {"reference_id": "r"}))

    def do_GET(self) -> None:
        self._answer({"version": 10})

    def do_DELETE(self) -> None:
        self._answer({})

    def log_message(self, *args: Any) -> None:
        """Nothing on the terminal."""


@pytest.fixture
def agreeable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Agreeable) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("DEVSTACK_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("DEVSTACK_API_KEY", "t")
        yield
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures("agreeable")
def test_an_answer_that_is_not_the_expected_one_fails_the_demo(capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main() == 1
    table = capsys.readouterr().out
    assert "expected no_match" in table
    assert "expected multiple_faces" in table
    assert "expected challenge_failed" in table
    assert "expected challenge_used" in table
    assert "expected match, version 10" in table
    assert "✓" in table  # the genuine ones
