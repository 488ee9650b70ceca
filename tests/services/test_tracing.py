"""A verify's spans, as a host with OpenTelemetry collects them."""

from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from ml_models import tracing
from ml_models.exceptions import NotEnrolled
from ml_models.services import NOBODY, verification
from tests.conftest import Portraits

pytestmark = pytest.mark.django_db

STEPS = ["ml_models.verify.template", "ml_models.verify.pictures", "ml_models.verify.decide", "ml_models.verify.audit"]
KNOWN = {"decision", "code", "config_version", "frames", "dropped"}


@pytest.fixture
def collected(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    # a process sets its provider once; this one is gone after the test
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    return exporter


def test_a_verify_is_a_span_with_its_steps_and_nothing_of_the_person(
    people: list[str], portraits: Portraits, collected: InMemorySpanExporter
) -> None:
    verification.verify(NOBODY, "child-1", [portraits.eileen_collins])
    with pytest.raises(NotEnrolled):
        verification.verify(NOBODY, "child-99", [portraits.eileen_collins])
    spans = collected.get_finished_spans()
    matched, refused = (span for span in spans if span.name == "ml_models.verify")
    assert [span.name for span in spans if span.parent and span.parent.span_id == matched.context.span_id] == STEPS
    assert facts(matched) == {"decision": "match", "config_version": 2, "frames": 1, "dropped": 0}
    assert facts(refused) == {"code": "not_enrolled"}
    assert refused.status.status_code is trace.StatusCode.ERROR
    pictures = next(span for span in spans if span.name == "ml_models.verify.pictures")
    assert {"decode_ms", "detect_ms"} <= set(facts(pictures))
    for span in spans:
        assert not span.events
        assert all(name in KNOWN or name.endswith("_ms") for name in facts(span))
        assert not span.status.description


def test_without_a_provider_nothing_is_made(people: list[str], portraits: Portraits) -> None:
    assert tracing.span("verify") is tracing.span("verify.audit")
    verification.verify(NOBODY, "child-1", [portraits.eileen_collins])
    assert not trace.get_current_span().is_recording()


def facts(span: Any) -> dict[str, Any]:
    return {name.removeprefix("ml_models."): value for name, value in span.attributes.items()}
