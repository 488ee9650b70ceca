"""What the shop does with it: one customer enrolled at the till, who then verifies; printed as one JSON object."""

import json
import os
import sys
from pathlib import Path

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
django.setup()

from django.core.files.uploadedfile import SimpleUploadedFile  # noqa: E402
from django.test import Client  # noqa: E402
from people.models import Person  # noqa: E402
from shop.celery import app  # noqa: E402

import ml_models  # noqa: E402
from ml_models import runtime, signals  # noqa: E402

FACE = "/biometrics/api/v1/face"
picture, other = (Path(name).read_bytes() for name in sys.argv[1:3])
heard: list[str] = []
signals.verification_decided.connect(lambda **facts: heard.append(facts["decision"]), weak=False)
signals.subject_erased.connect(lambda **facts: heard.append("erased"), weak=False)

runtime.refresh()
customer = Person.objects.create(email="customer@shop.example")
till = Person.objects.create(email="till@shop.example")
client = Client()


def call(method: str, path: str, who: Person | None, data: bytes | None = None) -> list[object]:
    body = {"subject_id": str(customer.pk), "image": SimpleUploadedFile("face.jpg", data)} if data else {}
    response = getattr(client, method)(FACE + path, body, headers={"X-Person": who.email if who else ""})
    answer = response.json() if response.content else {}
    return [response.status_code, answer.get("code") or answer.get("decision") or "ok"]


app.loader.import_default_modules()
answers = {
    "installed": str(Path(ml_models.__file__).parent),
    "tasks": sorted(name for name in app.tasks if name.startswith("ml_models.")),
    "queue": app.amqp.router.route({}, "ml_models.tick")["queue"].name,
    "health": client.get("/biometrics/healthz").status_code,
    "ready": client.get("/biometrics/readyz").status_code,
    "a stranger": call("post", "/enroll", None, picture),
    "the customer enrolls": call("post", "/enroll", customer, picture),
    "the till enrolls": call("post", "/enroll", till, picture),
    "the customer verifies": call("post", "/verify", customer, picture),
    "somebody else's face": call("post", "/verify", customer, other),
    "no picture": call("post", "/verify", customer, b"no picture"),
    "in German": client.get(f"{FACE}/nowhere", headers={"Accept-Language": "de"}).json()["detail"],
    "the till erases": call("delete", f"/subjects/{customer.pk}", till),
    "the customer erases": call("delete", f"/subjects/{customer.pk}", customer),
    "and is gone": call("post", "/verify", customer, picture),
    "back office": client.get("/back-office/login/").status_code,
    "heard": heard,
}
print(json.dumps(answers))
