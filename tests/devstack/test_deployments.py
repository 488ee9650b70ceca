"""What `devstack.deployments` refuses, on copies of the tree with a fault in each."""

import re
import shutil
from pathlib import Path

import yaml

from devstack import deployments
from devstack.state import ROOT

KUBERNETES = "config/kubernetes"


# a fault, and what is said of it
FAULTS = [
    (f"{KUBERNETES}/web.yaml", "readinessProbe:", "readynessProbe:", "readynessProbe"),
    (f"{KUBERNETES}/worker.yaml", '"1", --without', "1, --without", "1 is not of type 'string'"),
    (
        f"{KUBERNETES}/web.yaml",
        "{path: /healthz, port: http}\n            periodSeconds: 10",
        "{path: /health, port: http}\n            periodSeconds: 10",
        "the livenessProbe at http/health",
    ),
    (f"{KUBERNETES}/web.yaml", "containerPort: 8000", "containerPort: 8080", "nothing answers the startupProbe"),
    (f"{KUBERNETES}/web.yaml", "backend_easy.asgi", "backend_easy.wsgi", "web is started by"),
    (f"{KUBERNETES}/web.yaml", "secretRef: {name: face-verification}", "secretRef: {name: face}", "its variables"),
    (f"{KUBERNETES}/web.yaml", "ML_MODELS_SLOTS", "ML_MODEL_SLOTS", "web: nothing reads ML_MODEL_SLOTS"),
    (f"{KUBERNETES}/web.yaml", "kind: Deployment, name: web}", "kind: Deployment, name: wep}", "scales wep"),
    (f"{KUBERNETES}/web.yaml", "  selector: {app.kubernetes.io/name: web}", "  selector: {app: w}", "{'app': 'w'}, of"),
    (f"{KUBERNETES}/beat.yaml", "matchLabels: {app.kubernetes.io/name: beat}", "matchLabels: {a: b}", "its own pods"),
    (f"{KUBERNETES}/ingress.yaml", "service: {name: web,", "service: {name: wep,", "leads to no service"),
    (f"{KUBERNETES}/kustomization.yaml", "  - beat.yaml\n", "", "kustomization.yaml lists"),
    (f"{KUBERNETES}/settings.env", "BEHIND_TLS", "BEHIND_SSL", "settings.env: nothing reads BEHIND_SSL"),
    ("docker-compose.yml", '--concurrency, "1"', '--concurrency, "2"', "docker-compose.yml: worker is started by"),
    ("config/compose/production.yaml", "    SECRET_KEY:", "    SECRET:", "lacks SECRET_KEY"),
    ("config/compose/production.yaml", "PROXIES:", "PROXYS:", "nothing reads PROXYS"),
]


def test_the_tree_has_no_fault() -> None:
    assert deployments.problems(ROOT) == []


def test_each_fault_is_named(tmp_path: Path) -> None:
    for name in ("config", "backend_easy"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "docker-compose.yml", tmp_path)
    for file, old, new, _ in FAULTS:
        path = tmp_path / file
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))
    said = "\n".join(deployments.problems(tmp_path))
    assert [expected for *_, expected in FAULTS if expected not in said] == []


def test_the_page_makes_the_secret_that_the_pods_read() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    given = set(re.findall(r"--from-literal=(\w+)=", page))
    assert deployments.required(ROOT) <= given <= deployments.variables(ROOT)
    assert f"create secret generic {deployments.SECRET}" in page


def test_the_first_start_waits_for_no_version_to_be_active() -> None:
    """Web is healthy once a version answers, and the panel is where somebody makes one active."""
    services = yaml.safe_load((ROOT / "config" / "compose" / "production.yaml").read_text())["services"]
    waits = {
        name: service["depends_on"] for name, service in services.items() if "web" in service.get("depends_on", ())
    }
    assert waits == {"proxy": ["web"]}
