"""LOG_FORMAT=json: what a line of a call has, and what none has."""

import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from rest_framework.test import APIClient

from backend_easy.logs import JsonFormatter
from tests.conftest import Portraits
from tests.support.served import ROOT
from tests.support.uploads import verify

pytestmark = pytest.mark.django_db


@pytest.fixture
def lines(settings: Any) -> Iterator[Any]:
    """Reads what was logged since, one object a line."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    level, root.level = root.level, logging.INFO
    root.addHandler(handler)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.removeHandler(handler)
    root.setLevel(level)


def test_a_call_is_one_line_with_its_ids_and_nothing_of_the_person(
    people: list[str], service: APIClient, portraits: Portraits, lines: Any
) -> None:
    service.defaults["HTTP_X_REQUEST_ID"] = "proxy-1"
    answer = verify(service, people[0], portraits.eileen_collins)
    (line,) = (line for line in lines() if line.get("call") == "verify")
    assert {name: line[name] for name in ("request_id", "code", "status", "decision", "level")} == {
        "request_id": "proxy-1",
        "code": "ok",
        "status": 200,
        "decision": "match",
        "level": "INFO",
    }
    assert line["verification_id"] == answer.json()["verification_id"]
    assert line["credential_id"]
    assert answer["X-Request-ID"] == "proxy-1"
    assert not [name for name in people if name in json.dumps(lines())]


def test_what_is_logged_during_a_call_has_its_id_and_what_follows_has_none(
    people: list[str], service: APIClient, lines: Any
) -> None:
    answer = service.get("/api/v1/face/subjects/nobody", HTTP_X_REQUEST_ID="a" * 65 + "\n")
    logging.getLogger("tests").warning("later")
    *said, later = lines()
    (call,) = (line for line in said if "call" in line)
    assert (call["code"], call["status"]) == ("not_found", 404)
    assert call["request_id"] == answer["X-Request-ID"] != "a" * 65
    assert "request_id" not in later
    assert "nobody" not in json.dumps(said)


def test_who_asks_every_few_seconds_is_not_written_down(service: APIClient, lines: Any) -> None:
    assert service.get("/healthz").status_code == 200
    assert [line for line in lines() if "call" in line] == []


def test_an_error_brings_its_traceback_in_the_line(lines: Any) -> None:
    try:
        raise ValueError("seven")
    except ValueError:
        logging.getLogger("tests").exception("failed")
    (line,) = lines()
    assert (line["message"], line["level"]) == ("failed", "ERROR")
    assert line["traceback"].endswith("ValueError: seven")


_WORKER = """
import logging
from celery.signals import setup_logging
import backend_easy.celery
assert setup_logging.send(sender=None)
logging.getLogger("celery.app.trace").info("Task %s succeeded", "ml_models.tick")
"""


@pytest.mark.parametrize("form", ["plain", "json"])
def test_a_worker_logs_in_the_web_servers_form(form: str) -> None:
    environment = {**os.environ, "LOG_FORMAT": form, "LOG_LEVEL": "INFO"}
    done = subprocess.run(
        [sys.executable, "-c", _WORKER], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    (line,) = (line for line in done.stderr.splitlines() if "succeeded" in line)
    assert line.startswith('{"at": ') == (form == "json")
