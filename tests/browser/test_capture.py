"""A camera that films a portrait: the capture page, and the panel's enrolment."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageOps
from playwright.sync_api import Browser, Page, expect
from rest_framework.authtoken.models import Token
from rest_framework.test import APIClient

from devstack.portraits import eileen_collins
from ml_models.models import EnsembleConfig, Reference, Verification
from tests.support.panel import page as address
from tests.support.panel import serious, shoot

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


@pytest.fixture
def phone(chromium: Browser, live_server: Any, settings: Any) -> Iterator[Page]:
    settings.ML_MODELS = {**settings.ML_MODELS, "TRY_PAGE": True}
    context = chromium.new_context(
        base_url=live_server.url, viewport={"width": 390, "height": 800}, has_touch=True, locale="es"
    )
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


def test_the_desk_enrols_with_the_camera(served: EnsembleConfig, panel: Page, pictures: Path) -> None:
    panel.goto(address("subject", "changelist"))
    panel.get_by_role("link", name="Enrol a picture").click()
    panel.get_by_label("The host's subject id").fill("child-8")
    panel.get_by_role("button", name="Use the camera").click()
    panel.get_by_role("button", name="Take the picture").click()
    expect(panel.get_by_text("The picture is taken.")).to_be_visible()
    shoot(panel, pictures, "enrol-taken")
    panel.get_by_role("button", name="Enrol", exact=True).click()
    expect(panel.get_by_text("Enrolled, with a picture of quality")).to_be_visible()
    assert Reference.objects.get().subject.subject_id == "child-8"
