"""docs/openapi.yaml: complete for every operation, and a client that is generated from it works."""

import importlib
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from rest_framework.authtoken.models import Token
from rest_framework.test import APIClient

from ml_models.api.errors import CODES
from ml_models.api.schema import WAITS
from ml_models.models import EnsembleConfig, Reference
from tests.conftest import Portraits
from tests.support.openapi import DOCUMENT, codes, document, operations

OPEN = ("healthz", "readyz")


def as_json_schema(node: Any) -> Any:
    """OpenAPI 3.0 says `nullable` where JSON Schema has a type more."""
    if isinstance(node, list):
        return [as_json_schema(item) for item in node]
    if not isinstance(node, dict):
        return node
    plain = {key: as_json_schema(value) for key, value in node.items() if key != "nullable"}
    return {**plain, "type": [plain["type"], "null"]} if node.get("nullable") and "type" in plain else plain


def test_every_operation_has_a_summary_an_id_and_an_example_that_fits() -> None:
    components = as_json_schema(document()["components"])
    for name, operation in operations().items():
        assert operation["summary"], name
        bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
        contents = [body.get("content", {}).get("application/json") for body in bodies]
        for content in filter(None, contents):
            if not content.get("examples"):
                assert content["schema"] == {"$ref": "#/components/schemas/GroupAnswer"}, name  # put_group's 201, too
                continue
            schema = {**as_json_schema(content["schema"]), "components": components}
            for example in content["examples"].values():
                Draft202012Validator(schema).validate(example["value"])


def test_every_code_is_promised_somewhere_and_waits_where_it_says() -> None:
    told: set[str] = set()
    for name, operation in operations().items():
        for status, response in operation["responses"].items():
            assert {CODES[code] for code in codes(response)} <= {int(status) if status != "default" else 0}, name
            assert ("Retry-After" in response.get("headers", {})) == bool(codes(response) & set(WAITS)), (name, status)
            told |= codes(response)
        if name not in OPEN:
            assert {"not_authenticated", "forbidden", "throttled"} <= set.union(
                *map(codes, operation["responses"].values())
            )
    assert told == set(CODES) - {"method_not_allowed"}  # no method that the document has


@pytest.fixture
def generated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The package that openapi-python-client makes of the document, importable."""
    (tmp_path / "conf.yaml").write_text("post_hooks: []\n")
    command = [str(Path(sys.executable).with_name("openapi-python-client")), "generate", "--path", str(DOCUMENT)]
    options = [
        "--output-path",
        str(tmp_path / "generated_faces"),
        "--meta",
        "none",
        "--config",
        str(tmp_path / "conf.yaml"),
    ]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Warning" not in done.stdout
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "generated_faces"
    for name in [name for name in sys.modules if name.split(".")[0] == "generated_faces"]:
        del sys.modules[name]


@pytest.mark.django_db(transaction=True)
def test_a_generated_client_imports_enrols_and_verifies(
    served: EnsembleConfig, service: APIClient, portraits: Portraits, live_server: Any, generated: str
) -> None:
    for path in Path(importlib.import_module(generated).__path__[0]).rglob("*.py"):
        relative = path.relative_to(Path(importlib.import_module(generated).__path__[0]).parent)
        importlib.import_module(".".join(relative.with_suffix("").parts).removesuffix(".__init__"))
    client_of = importlib.import_module(f"{generated}.client").AuthenticatedClient
    models, file = importlib.import_module(f"{generated}.models"), importlib.import_module(f"{generated}.types").File
    calls = {
        name: importlib.import_module(f"{generated}.api.api.{name}") for name in ("enroll", "verify", "get_subject")
    }

    def picture(data: bytes) -> Any:
        return file(payload=BytesIO(data), file_name="face.jpg", mime_type="image/jpeg")

    token = Token.objects.get(user__username="kiosk").key
    with client_of(base_url=live_server.url, token=token, prefix="Token") as client:
        body = models.EnrollRequest(subject_id="child-1", image=[picture(portraits.eileen_collins)])
        enrolled = calls["enroll"].sync(client=client, body=body, idempotency_key="k1")
        assert enrolled.reference_id == Reference.objects.get().pk
        frames = [picture(portraits.grace_hopper), picture(portraits.eileen_collins)]
        for count, decision in ((2, "no_match"), (1, "match")):
            asked = models.VerifyRequest(subject_id="child-1", image=frames[-count:][:1])
            answer = calls["verify"].sync(client=client, body=asked)
            assert answer.decision.value == decision
            assert answer.quality.score > 0.5
        refused = calls["verify"].sync_detailed(
            client=client, body=models.VerifyRequest(subject_id="nobody", image=[picture(b"")])
        )
        assert (refused.status_code, refused.parsed.code) == (404, "not_enrolled")
        assert (
            calls["get_subject"].sync(client=client, subject_id="child-1").references[0].reference_id
            == enrolled.reference_id
        )
