"""The spans of an attempt, as a host with OpenTelemetry collects them."""

from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from ml_models import runtime, tracing
from ml_models.exceptions import NotEnrolled, ReferenceMismatch
from ml_models.services import NOBODY, enrolment, groups, identification, verification
from tests.conftest import Portraits
from tests.support.served import rewrite

pytestmark = pytest.mark.django_db

KNOWN = {"decision", "code", "config_version", "frames", "dropped", "candidates"}


@pytest.fixture
def collected(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    # a process sets its provider once; this one is gone after the test
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    return exporter


@pytest.fixture
def buses(people: list[str]) -> None:
    """One with both, one with nobody who is enrolled, under a version that can identify."""
    offsets = [{"candidates": count, "match": 1.0, "review": 0.0} for count in (1, 2000)]
    rewrite(identification={"target_fpir": 0.001, "offsets": offsets})
    runtime.refresh()
    groups.put(NOBODY, "bus-7", people)
    groups.put(NOBODY, "bus-8", ["child-99"])


def test_each_attempt_is_a_span_with_its_steps_and_nothing_of_the_person(
    buses: None, portraits: Portraits, collected: InMemorySpanExporter
) -> None:
    verification.verify(NOBODY, "child-1", [portraits.eileen_collins])
    identification.identify(NOBODY, [portraits.eileen_collins], group_id="bus-7")
    enrolment.enroll(NOBODY, "child-3", portraits.grace_hopper)
    attempts: dict[str, tuple[list[str], dict[str, Any]]] = {
        "verify": (["template", "pictures", "decide", "audit"], {"decision": "match", "frames": 1, "dropped": 0}),
        "identify": (
            ["roster", "pictures", "search", "audit"],
            {"decision": "match", "frames": 1, "dropped": 0, "candidates": 2},
        ),
        "enroll": (["pictures", "check", "write"], {"frames": 1}),
    }
    spans = collected.get_finished_spans()
    for name, (steps, came) in attempts.items():
        (attempt,) = (span for span in spans if span.name == f"ml_models.{name}")
        own = [span for span in spans if span.parent and span.parent.span_id == attempt.context.span_id]
        assert [span.name for span in own] == [f"ml_models.{name}.{step}" for step in steps]
        assert facts(attempt) == {"config_version": 2, **came}
        pictures = next(span for span in own if span.name.endswith("pictures"))
        assert {"decode_ms", "detect_ms"} <= set(facts(pictures))
        assert ("roster_ms" in facts(pictures)) == (name == "identify")
    assert all(name in KNOWN or name.endswith("_ms") for span in spans for name in facts(span))


def test_of_a_refusal_a_span_has_the_code_and_no_word(
    buses: None, portraits: Portraits, collected: InMemorySpanExporter
) -> None:
    with pytest.raises(NotEnrolled):
        verification.verify(NOBODY, "child-99", [portraits.eileen_collins])
    with pytest.raises(NotEnrolled):
        identification.identify(NOBODY, [portraits.eileen_collins], group_id="bus-8")
    with pytest.raises(ReferenceMismatch):
        enrolment.enroll(NOBODY, "child-1", portraits.grace_hopper)
    spans = collected.get_finished_spans()
    codes = {"verify": "not_enrolled", "identify": "not_enrolled", "enroll": "reference_mismatch"}
    for name, code in codes.items():
        (refused,) = (span for span in spans if span.name == f"ml_models.{name}")
        assert facts(refused) == {"code": code}
        assert refused.status.status_code is trace.StatusCode.ERROR
    assert not any(span.events or span.status.description for span in spans)


def test_without_a_provider_nothing_is_made(people: list[str], portraits: Portraits) -> None:
    assert tracing.span("verify") is tracing.span("verify.audit")
    verification.verify(NOBODY, "child-1", [portraits.eileen_collins])
    assert not trace.get_current_span().is_recording()


def facts(span: Any) -> dict[str, Any]:
    return {name.removeprefix("ml_models."): value for name, value in span.attributes.items()}
