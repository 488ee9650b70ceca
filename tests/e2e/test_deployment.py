"""The files of a deployment say what `make run` does; none of these needs Docker."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from devstack import commands

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("web", commands.WEB),
        ("worker", commands.worker(concurrency=1)),
        ("beat", commands.beat("/var/lib/ml_models/beat-schedule")),
    ],
)
def test_compose_starts_what_make_run_starts(compose: dict[str, Any], name: str, command: list[str]) -> None:
    assert compose["services"][name]["command"] == command


def test_the_image_starts_the_same_web_server() -> None:
    command = re.findall(r"^CMD (.*)$", DOCKERFILE, re.MULTILINE)[0]
    assert yaml.safe_load(command) == commands.WEB


def test_the_image_collects_the_static_files_with_what_its_build_sets(tmp_path: Path) -> None:
    (line,) = re.findall(r"^RUN (DEBUG=1(?:.|\\\n)*collectstatic --noinput)$", DOCKERFILE, re.MULTILINE)
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "STATIC_ROOT": str(tmp_path)}
    subprocess.run(["bash", "-c", line], cwd=ROOT, env=environment, check=True, capture_output=True, timeout=60)
    assert (tmp_path / "admin").is_dir()


def test_every_compose_service_waits_for_services_that_exist(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        assert set(service.get("depends_on", {})) <= set(compose["services"])


def test_the_env_example_names_every_variable_that_the_settings_read() -> None:
    settings = (ROOT / "backend_easy" / "settings.py").read_text()
    read = set(re.findall(r"(?:required|flag|environ\.get)\(\s*\"([A-Z_]+)\"", settings))
    named = set(re.findall(r"^#?([A-Z_]+)=", (ROOT / "config" / "env.example").read_text(), re.MULTILINE))
    assert read
    assert read <= named
