"""config/monitoring against a real scrape: every metric that a rule or a panel asks for is there, with its labels."""

import json
import re
from typing import Any

import promql_parser
import pytest
import yaml
from django.test import Client
from pytest_django import Settings

from ml_models import metrics, runtime, tasks
from ml_models.api.errors import CODES
from ml_models.models import EnsembleConfig, Rollout
from tests.support.served import ROOT

MONITORING = ROOT / "config" / "monitoring"
ALERTS = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"][0]["rules"]
PANELS = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
ADAPTER = yaml.safe_load((MONITORING / "prometheus-adapter.yaml").read_text())["rules"]["external"]
QUERIES = {
    **{rule["alert"]: rule["expr"] for rule in ALERTS},
    **{f"{panel['title']} {target['refId']}": target["expr"] for panel in PANELS for target in panel["targets"]},
    **{rule["seriesQuery"]: rule["metricsQuery"] for rule in ADAPTER},
}
# Prometheus's own
OF_PROMETHEUS = {"up": {"job"}}
TOKEN = "scrape-" + "0" * 20


@pytest.fixture
def series(served: EnsembleConfig, settings: Settings) -> dict[str, set[str]]:
    """Labels by the name of a series, out of an answer of /metrics; each counter has counted."""
    metrics.answered("verify", "ok", 0.1)
    metrics.verified("match", {"total": 1.0}, [{"code": "no_face_found"}])
    metrics.identified("match", {"search": 1.0})
    metrics.locked_out("subject")
    metrics.challenge("issued")
    metrics.looked_at("uncertain")
    metrics.cache_answered(True)
    with metrics.waiting("verify"):
        pass
    runtime.report()
    tasks.audit()
    Rollout.objects.create(config=served, pairs=10)
    settings.ML_MODELS = {**settings.ML_MODELS, "METRICS_TOKEN": TOKEN}
    answer = Client().get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
    labels: dict[str, set[str]] = {}
    for line in answer.content.decode().splitlines():
        if found := re.match(r"(\w+)(?:\{(.*)\})? ", line):
            labels.setdefault(found[1], set()).update(re.findall(r'(\w+)="', found[2] or ""))
    return labels


@pytest.mark.django_db
def test_what_the_rules_and_panels_ask_for_is_scraped(series: dict[str, set[str]]) -> None:
    known = {**series, **OF_PROMETHEUS}
    for name, query in QUERIES.items():
        asked, grouped = parts(query)
        for metric in asked:
            assert metric.name in known, f"{name}: no scrape has {metric.name}"
            labels = {matcher.name for matcher in metric.matchers.matchers}
            assert labels <= known[metric.name], f"{name}: {metric.name} has {known[metric.name]}"
        assert grouped <= set().union(*(known[metric.name] for metric in asked)), f"{name} groups by {grouped}"


def test_codes_and_outcomes_are_ones_that_the_service_gives() -> None:
    known = {"ok", "match", "review", "no_match", *CODES}
    for name, query in QUERIES.items():
        for metric in parts(query)[0]:
            for matcher in metric.matchers.matchers:
                if matcher.name in ("code", "outcome"):
                    assert set(matcher.value.split("|")) <= known, f"{name}: {matcher.value}"


def test_each_alert_has_its_page_and_no_page_is_left_over() -> None:
    incidents = (ROOT / "docs" / "operations.md").read_text().partition("## Incidents")[2]
    assert re.findall(r"^### (\w+)$", incidents, re.MULTILINE) == [rule["alert"] for rule in ALERTS]
    for rule in ALERTS:
        assert rule["annotations"]["runbook_url"] == f"docs/operations.md#{rule['alert'].lower()}"


def test_a_panel_names_only_what_its_query_keeps() -> None:
    for panel in PANELS:
        for target in panel["targets"]:
            named = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            assert named <= parts(target["expr"])[1], panel["title"]


def parts(query: str) -> tuple[list[Any], set[str]]:
    """A query's metrics with their matchers, and the labels that it groups by. Raises: ValueError where it is none."""
    metrics_asked: list[Any] = []
    grouped: set[str] = set()

    def visit(node: Any) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            metrics_asked.append(node)
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier:
            grouped.update(node.modifier.labels)
        return True

    promql_parser.walk(promql_parser.parse(query), pre_visit=visit)
    assert metrics_asked, query
    return metrics_asked, grouped
