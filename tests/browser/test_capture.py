"""A camera that films a portrait, or somebody who turns: the capture page, and the panel's enrolment."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.utils import translation
from PIL import Image, ImageOps
from playwright.sync_api import Browser, Page, expect
from rest_framework.authtoken.models import Token
from rest_framework.test import APIClient

from devstack.portraits import eileen_collins
from devstack.turned import shown
from ml_models.api import texts
from ml_models.models import EnsembleConfig, Reference, Verification
from ml_models.services import challenges
from tests.conftest import Portraits
from tests.support.challenges import TURNED
from tests.support.panel import page as address
from tests.support.panel import serious, shoot
from tests.support.served import rewrite
from tests.support.uploads import enroll

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("browser")]


@pytest.fixture(scope="module")
def flags(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Chromium's own fake camera, which plays a film of one portrait."""
    portrait = Image.open(io.BytesIO(eileen_collins()))
    frame = io.BytesIO()
    ImageOps.pad(portrait, (640, 480), color="grey").save(frame, "JPEG", quality=95, subsampling="4:2:0")
    film = tmp_path_factory.mktemp("camera") / "portrait.mjpeg"
    film.write_bytes(frame.getvalue() * 2)
    return [
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={film}",
    ]


@pytest.fixture
def key(service: APIClient) -> str:
    return f"Token {Token.objects.get().key}"


# the page's countdowns take a third of their time
FAST = """const wait = window.setTimeout;
window.setTimeout = (callback, ms, ...more) => wait(callback, ms / 3, ...more);"""


@pytest.fixture
def phone(chromium: Browser, live_server: Any, settings: Any) -> Iterator[Page]:
    settings.ML_MODELS = {**settings.ML_MODELS, "TRY_PAGE": True}
    context = chromium.new_context(
        base_url=live_server.url, viewport={"width": 390, "height": 800}, has_touch=True, locale="es"
    )
    context.add_init_script(FAST)
    yield context.new_page()
    context.close()


def test_a_phone_is_guided_enrolls_and_verifies_in_its_language(
    served: EnsembleConfig, key: str, phone: Page, pictures: Path
) -> None:
    complaints: list[str] = []
    phone.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    phone.goto("/try/")
    phone.get_by_label("Clave de API").fill(key)
    phone.get_by_label("Identificador de la persona").fill("child-7")
    phone.get_by_label("Registrar").check()
    phone.get_by_role("button", name="Iniciar la cámara").click()
    expect(phone.get_by_role("status")).to_have_text("La imagen es buena.")
    shoot(phone, pictures, "try")
    assert serious(phone) == []
    send = phone.get_by_role("button", name="Tomar y enviar")
    send.click()
    expect(phone.get_by_role("alert")).to_have_text("Registrado.")
    assert Reference.objects.get().subject.subject_id == "child-7"
    phone.get_by_label("Verificar").check()
    send.click()
    expect(phone.get_by_role("alert")).to_have_text("Coincide.")
    assert Verification.objects.get().frames == 3
    assert complaints == []
    phone.get_by_label("Identificador de la persona").fill("nobody")
    send.click()
    expect(phone.get_by_role("alert")).to_have_text("Esta persona aún no está registrada. (not_enrolled)")


STEPS = ["front", "left", "right"]
# a camera before somebody who does what the page says: it shows the picture of the step whose words stand there
FOLLOWING = """async ({ pictures, words }) => {
  const decoded = (text) => new Blob([Uint8Array.from(atob(text), (character) => character.charCodeAt(0))]);
  const images = await Promise.all(pictures.map((picture) => createImageBitmap(decoded(picture))));
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [images[0].width, images[0].height];
  const said = document.getElementById("guidance");
  const shown = () => Math.max(0, words.findIndex((text) => said.textContent.endsWith(text)));
  setInterval(() => canvas.getContext("2d").drawImage(images[shown()], 0, 0), 20);
  navigator.mediaDevices.getUserMedia = async () => canvas.captureStream();
}"""


@pytest.fixture
def steps(served: EnsembleConfig, settings: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What every challenge asks for, in Spanish, of a version that can judge it; a verify needs one."""
    rewrite(liveness={"turned": TURNED})
    monkeypatch.setattr(challenges, "draw", lambda: STEPS)
    settings.ML_MODELS = {**settings.ML_MODELS, "LIVENESS": {"verify": {"challenge": "enforce"}}}
    with translation.override("es"):
        return [translation.gettext(texts.STEPS[step]) for step in STEPS]


def test_who_follows_the_steps_on_the_page_enrolls_and_verifies(
    steps: list[str], key: str, phone: Page, portraits: Portraits, pictures: Path
) -> None:
    phone.goto("/try/")
    turning = [base64.b64encode(picture).decode() for picture in shown(portraits.eileen_collins, STEPS)]
    phone.evaluate(FOLLOWING, {"pictures": turning, "words": steps})
    phone.get_by_label("Clave de API").fill(key)
    phone.get_by_label("Identificador de la persona").fill("child-7")
    phone.get_by_label("Registrar").check()
    phone.get_by_label("Seguir unos pasos").check()
    phone.get_by_role("button", name="Iniciar la cámara").click()
    send = phone.get_by_role("button", name="Tomar y enviar")
    send.click()
    expect(phone.get_by_role("status")).to_have_text(f"2/3 {steps[1]}")
    expect(phone.get_by_role("progressbar", name="Pasos")).to_be_visible()
    shoot(phone, pictures, "try-steps")
    expect(phone.get_by_role("alert")).to_have_text("Registrado. Hay alguien.")
    assert Reference.objects.count() == 1
    phone.get_by_label("Verificar").check()
    phone.get_by_label("Seguir unos pasos").uncheck()
    send.click()  # the answer is that it takes steps, and the page goes through them
    expect(phone.get_by_role("alert")).to_have_text("Coincide. Hay alguien.")
    assert [row.liveness["live"] for row in Verification.objects.all() if row.decision] == ["yes"]


def test_a_photo_before_the_camera_fails_and_is_told_which_steps(
    steps: list[str], service: APIClient, key: str, phone: Page, portraits: Portraits
) -> None:
    assert enroll(service, "child-7", portraits.eileen_collins).status_code == 201
    phone.goto("/try/")
    phone.get_by_label("Clave de API").fill(key)
    phone.get_by_label("Identificador de la persona").fill("child-7")
    phone.get_by_role("button", name="Iniciar la cámara").click()
    phone.get_by_role("button", name="Tomar y enviar").click()
    with translation.override("es"):
        left, right = (translation.gettext(texts.REASONS[f"not_turned_{side}"]) for side in ("left", "right"))
    expect(phone.get_by_role("alert")).to_have_text(f"2: {left}, 3: {right} (challenge_failed)")


def test_the_desk_enrols_with_the_camera(served: EnsembleConfig, panel: Page, pictures: Path) -> None:
    panel.goto(address("subject", "changelist"))
    panel.get_by_role("link", name="Enrol a picture").click()
    panel.get_by_label("The host's subject id").fill("child-8")
    panel.get_by_role("button", name="Use the camera").click()
    panel.get_by_role("button", name="Take the picture").click()
    expect(panel.get_by_text("The picture is taken.")).to_be_visible()
    shoot(panel, pictures, "enrol-taken")
    assert not serious(panel)
    panel.get_by_role("button", name="Enrol", exact=True).click()
    expect(panel.get_by_text("Enrolled, with a picture of quality")).to_be_visible()
    assert Reference.objects.get().subject.subject_id == "child-8"
