"""What `make faults` takes for a leak."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from devstack.drill.leaks import leaked
from devstack.drill.people import Photo
from devstack.drill.stack import FOLDER
from devstack.drill.traffic import Answer
from tests.conftest import Portraits


@pytest.fixture
def stack(tmp_path: Path) -> Any:
    folders = {name: tmp_path / name for name in ("logs", "cache", "tmp", "metrics")}
    for folder in folders.values():
        folder.mkdir()
    named = {"ML_MODELS_CACHE_DIR": "cache", "TMPDIR": "tmp", "PROMETHEUS_MULTIPROC_DIR": "metrics"}
    places = {variable: str(folders[name]) for variable, name in named.items()}
    environment = {"REDIS_URL": os.environ["REDIS_URL"], **places}
    return SimpleNamespace(state=SimpleNamespace(logs=folders["logs"]), environment=environment)


def answer(status: int, body: dict[str, Any]) -> Answer:
    return Answer(0.0, 1.0, Photo("drill-1", Path("a.jpg")), "drill-1", status, body)


def test_bytes_of_people_are_found_in_each_place(stack: Any, portraits: Portraits, tmp_path: Path) -> None:
    (tmp_path / "logs" / "web.log").write_text(
        f"enrolled reference 0947aedc\n--- postgres -D /tmp/{FOLDER}7abc/postgres\n"
    )
    (tmp_path / "cache" / f"{'a' * 64}.onnx").write_bytes(b"network")
    (tmp_path / "metrics" / "counter_1.db").write_bytes(b"ml_models_decisions")
    told = [answer(200, {"subject_id": "drill-1"}), answer(503, {"code": "not_ready"})]
    assert leaked(stack, told) == {}

    with redis.Redis.from_url(os.environ["REDIS_URL"]) as client:
        client.set("test-leak", portraits.eileen_collins, ex=60)
        (tmp_path / "logs" / "web.log").write_text("no face in the picture of drill-17\n")
        (tmp_path / "logs" / "worker.log").write_bytes(base64.b64encode(portraits.eileen_collins))
        (tmp_path / "cache" / ".pull-abc").write_bytes(b"half")
        (tmp_path / "metrics" / "counter_1.db").write_bytes(b'ml_models_decisions{subject="drill-1"}')
        (tmp_path / "tmp" / "upload").write_bytes(b"x")
        found = leaked(stack, [*told, answer(422, {"detail": "drill-1 has no face"})])
        client.delete("test-leak")
    places = ["logs", "the broker and the cache", "metrics", "half-pulled files", "temporary files", "error answers"]
    assert sorted(found) == sorted(places)
