"""Which web pages may call the API: a setting of the host service, in a process that starts with it."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.support.served import ROOT

PAGE, OTHER = "https://kiosk.example.org", "https://elsewhere.example"
_ASK = """
import json, sys
import django
django.setup()
from django.core.management import call_command
from django.test import Client
call_command("check", stdout=sys.stderr)
client, answers = Client(headers={"host": "localhost"}), {}
for origin in sys.argv[1:]:
    preflight = {"origin": origin, "access-control-request-method": "POST",
                 "access-control-request-headers": "authorization, content-type"}
    asked = {"preflight": client.options("/api/v1/face/verify", headers=preflight),
             "refusal": client.get("/api/v1/face/nothing", headers={"origin": origin}),
             "health": client.get("/healthz", headers={"origin": origin})}
    answers[origin] = {name: {key: value for key, value in ((k.lower(), v) for k, v in answer.headers.items())
                              if key.startswith("access-control-")} for name, answer in asked.items()}
print(json.dumps(answers))
"""


def ask(origins: str) -> dict[str, Any]:
    environment = {**os.environ, "CORS_ALLOWED_ORIGINS": origins, "DJANGO_SETTINGS_MODULE": "backend_easy.settings"}
    command = [sys.executable, "-c", _ASK, PAGE, OTHER]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.django_db
def test_no_page_of_another_origin_may_call_by_default() -> None:
    assert ask("") == {origin: {"preflight": {}, "refusal": {}, "health": {}} for origin in (PAGE, OTHER)}


@pytest.mark.django_db
def test_a_page_that_is_named_may_call_the_api_and_no_other() -> None:
    answers = ask(PAGE)
    assert not any("access-control-allow-origin" in headers for headers in answers[OTHER].values())
    asked = answers[PAGE]
    assert asked["preflight"]["access-control-allow-origin"] == PAGE
    assert {"authorization", "content-type"} <= set(asked["preflight"]["access-control-allow-headers"].split(", "))
    assert "POST" in asked["preflight"]["access-control-allow-methods"]
    # a page can read why it was refused, and for how long
    assert asked["refusal"]["access-control-allow-origin"] == PAGE
    assert asked["refusal"]["access-control-expose-headers"] == "Retry-After, X-Request-ID"
    assert not any("access-control-allow-credentials" in headers for headers in asked.values())
    assert asked["health"] == {}
