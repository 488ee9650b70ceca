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


@pytest.mark.parametrize("name", ["web", "worker", "beat", "prepare"])
def test_our_containers_are_confined(compose: dict[str, Any], name: str) -> None:
    service = compose["services"][name]
    assert service["user"].split(":")[0] not in ("", "0", "root")
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["tmpfs"] == ["/tmp"]  # noqa: S108 - where the web server keeps its heartbeat
    assert not {"privileged", "cap_add", "devices", "pid", "network_mode"} & service.keys()
    assert [volume.partition(":")[0] for volume in service["volumes"]] == ["artifacts"]


def test_no_container_may_gain_rights(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "latest" not in service.get("image", "")


def test_each_stage_of_the_image_ends_as_the_user_that_compose_names(compose: dict[str, Any]) -> None:
    stages = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]
    users = [re.findall(r"^USER (.*)$", stage, re.MULTILINE)[-1:] for stage in stages]
    # the last stage is the first one under no name of its own
    assert users == [["10001:10001"], ["10001:10001"], []]
    assert stages[-1].strip() == "service"
    assert {service["user"] for service in compose["services"].values() if "build" in service} == {"10001:10001"}


def test_what_the_service_writes_lies_where_its_container_may(compose: dict[str, Any]) -> None:
    environment = dict(re.findall(r"(\w+)=(\S+)", DOCKERFILE.partition("RUN ")[0]))
    volume = compose["services"]["web"]["volumes"][0].partition(":")[2]
    assert environment["ML_MODELS_CACHE_DIR"].startswith(volume)
    assert environment["PYTHONDONTWRITEBYTECODE"] == "1"
    assert compose["services"]["beat"]["command"][-3].startswith(volume)
