"""Checks what a deployment is started from: config/kubernetes, and the Compose files.

Kubernetes's own schemas say what each field is, strictly: an unknown field is an error. What no schema knows is asked
here: that the parts name each other, that each process is started by the line of `devstack.commands`, that probes ask
what answers them, and that each variable is one that the service reads. `make check` asks the Compose files' schema
through check-jsonschema.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

from backend_easy.probes import PATHS
from devstack import commands
from devstack.state import ROOT, say

# a release that clusters in use have; what it knows, later ones know
KUBERNETES = "1.31"
SETTINGS, SECRET = "settings", "face-verification"
PORT = 8000
# each service's own line; `migrate` is Django's
LINES = {
    "web": commands.WEB,
    "worker": commands.worker(1),
    "beat": commands.beat("/var/lib/ml_models/beat-schedule"),
    "migrate": ["python", "manage.py", "migrate", "--noinput"],
}
# read by libraries: Google's client
OF_LIBRARIES = {"GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST"}

Document = Mapping[str, Any]


def main() -> int:
    wrong = problems(ROOT)
    for line in wrong:
        say(f"✗ {line}")
    return int(bool(wrong))


def problems(root: Path) -> list[str]:
    """What is wrong with the deployments of a tree, in words; empty where nothing is."""
    known = variables(root)
    return [*_of_kubernetes(root / "config" / "kubernetes", known), *_of_compose(root, known)]


def variables(root: Path) -> set[str]:
    """The environment variables that the service reads."""
    sources = [*(root / "backend_easy").rglob("*.py"), root / "config" / "gunicorn.conf.py"]
    return OF_LIBRARIES.union(*(re.findall(r"\"([A-Z][A-Z0-9_]+)\"", source.read_text()) for source in sources))


def required(root: Path) -> set[str]:
    """Those without which it does not start."""
    settings = (root / "backend_easy" / "settings.py").read_text()
    return set(re.findall(r"(?:required|secret)\(\"([A-Z_]+)\"\)", settings))


def _of_kubernetes(folder: Path, known: set[str]) -> Iterator[str]:
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    files = {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml"}
    if files != set(kustomization["resources"]):
        yield f"kustomization.yaml lists {sorted(kustomization['resources'])}, the folder has {sorted(files)}"
    documents = [each for name in sorted(files) for each in yaml.safe_load_all((folder / name).read_text())]
    for document in documents:
        try:
            kubernetes_validate.validate(document, KUBERNETES, strict=True)
        except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
            where = ".".join(map(str, getattr(error, "path", ())))
            yield f"{_name(document)}: {where} {getattr(error, 'message', error)}"
    workloads = {each["metadata"]["name"]: each for each in documents if "template" in each.get("spec", {})}
    if workloads.keys() != LINES.keys():
        yield f"the workloads are {sorted(workloads)}, must be {sorted(LINES)}"
    for name, workload in workloads.items():
        yield from _of_workload(name, workload, known)
    for document in documents:
        yield from _of_names(document, workloads, documents)
    for variable in re.findall(r"^([A-Z_0-9]+)=", (folder / "settings.env").read_text(), re.MULTILINE):
        if variable not in known:
            yield f"settings.env: nothing reads {variable}"


def _of_workload(name: str, workload: Document, known: set[str]) -> Iterator[str]:
    pod = workload["spec"]["template"]
    if pod["metadata"]["labels"] != workload["spec"].get("selector", {}).get("matchLabels", pod["metadata"]["labels"]):
        yield f"{name}: its selector does not choose its own pods"
    (container,) = pod["spec"]["containers"]
    if container["command"] != LINES.get(name):
        yield f"{name} is started by {container['command']}, must be {LINES.get(name)}"
    for each in (container, *pod["spec"].get("initContainers", ())):
        sources = [source[kind]["name"] for source in each["envFrom"] for kind in source]
        if sources != [SETTINGS, SECRET]:
            yield f"{name}: {each['name']} takes its variables from {sources}, must be {[SETTINGS, SECRET]}"
    for variable in container.get("env", ()):
        if variable["name"] not in known:
            yield f"{name}: nothing reads {variable['name']}"
    ports = {port["name"]: port["containerPort"] for port in container.get("ports", ())}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = container.get(probe, {}).get("httpGet")
        if asked and (asked["path"] not in PATHS or ports.get(asked["port"]) != PORT):
            yield f"{name}: nothing answers the {probe} at {asked['port']}{asked['path']}"


def _of_names(document: Document, workloads: Mapping[str, Document], documents: list[Any]) -> Iterator[str]:
    """Whatever a document names must be there."""
    spec = document.get("spec", {})
    if document["kind"] == "HorizontalPodAutoscaler" and spec["scaleTargetRef"]["name"] not in workloads:
        yield f"{_name(document)} scales {spec['scaleTargetRef']['name']}, which is not there"
    chosen = spec.get("selector") if document["kind"] in ("Service", "PodDisruptionBudget") else None
    labels = [each["spec"]["template"]["metadata"]["labels"] for each in workloads.values()]
    if chosen and chosen.get("matchLabels", chosen) not in labels:
        yield f"{_name(document)} chooses pods {chosen}, of which there are none"
    if document["kind"] == "Ingress":
        services = {each["metadata"]["name"] for each in documents if each["kind"] == "Service"}
        paths = [path for rule in spec["rules"] for path in rule["http"]["paths"]]
        for path in paths:
            if path["backend"]["service"]["name"] not in services:
                yield f"{_name(document)}: {path['path']} leads to no service"


def _of_compose(root: Path, known: set[str]) -> Iterator[str]:
    for file in commands.COMPOSE:
        composition = yaml.safe_load((root / file).read_text())
        services = composition["services"]
        for name in LINES.keys() & services.keys():
            if services[name]["command"] != LINES[name]:
                yield f"{file}: {name} is started by {services[name]['command']}, must be {LINES[name]}"
            given = set(services[name]["environment"])
            if lacks := required(root) - given:
                yield f"{file}: {name} lacks {', '.join(sorted(lacks))}"
            for variable in sorted(given - known):
                yield f"{file}: nothing reads {variable} of {name}"
        for name in {"web", "worker", "beat"} - services.keys():
            yield f"{file}: {name} is missing"


def _name(document: Document) -> str:
    return f"{document['kind']} {document['metadata']['name']}"


if __name__ == "__main__":
    sys.exit(main())
