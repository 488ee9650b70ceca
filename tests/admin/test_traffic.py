"""What live traffic says, from audit rows alone."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from ml_models import rollouts
from ml_models.models import EnsembleConfig, EvaluationReport, Identification, Verification
from ml_models.services import traffic
from ml_models.services.traffic import Span
from ml_models.versions import evidence
from tests.support.panel import page

TODAY = datetime.now(UTC).date()
FORTNIGHT = Span(TODAY - timedelta(days=13), TODAY)


@pytest.fixture
def attempt(served: EnsembleConfig) -> Callable[..., None]:
    """Audit rows, some days old."""

    def made(count: int = 1, days_ago: int = 0, **fields: Any) -> None:
        if "code" not in fields:
            fields = {"decision": "match", "score": 5.5, "quality": {"score": 0.82}, **fields}
        rows = Verification.objects.bulk_create(Verification(config=served, **fields) for _ in range(count))
        at = now() - timedelta(days=days_ago)
        Verification.objects.filter(pk__in=[row.pk for row in rows]).update(at=at)

    return made


def test_attempts_are_counted_by_version_day_decision_and_code(attempt: Callable[..., None]) -> None:
    attempt(3)
    attempt(2, decision="no_match", score=-4.0)
    attempt(4, code="no_face_found")
    attempt(1, code="not_ready")
    attempt(5, days_ago=2)
    attempt(7, days_ago=20)
    today, earlier = traffic.days(FORTNIGHT)
    assert (today.version, today.day) == (2, TODAY)
    assert today.decisions == {"match": 3, "review": 0, "no_match": 2}
    assert today.codes == {"no_face_found": 4, "not_ready": 1}
    assert (today.attempts, today.not_acquired) == (10, 4)
    assert earlier.decisions["match"] == 5


def test_where_nobody_seemed_to_be_there_is_told_by_capture_point(
    attempt: Callable[..., None], staff: Callable[..., Client]
) -> None:
    attempt(7, capture_point="bus 7")
    attempt(3, code="spoof_suspected", capture_point="bus 7")
    attempt(1, code="challenge_failed")
    attempt(2, code="no_face_found", capture_point="door")
    attempt(9, days_ago=20, code="spoof_suspected", capture_point="door")
    assert traffic.suspicions(FORTNIGHT) == [("bus 7", "spoof_suspected", 3, 10), ("", "challenge_failed", 1, 1)]
    for search in ({"code": "spoof_suspected"}, {"decision": "match"}):
        Identification.objects.create(roster_size=1, candidates=1, capture_point="bus 7", **search)
    assert traffic.suspicions(FORTNIGHT)[0] == ("bus 7", "spoof_suspected", 4, 12)
    attempt(2, liveness={"live": "no", "reasons": ["looks_like_a_picture"]}, capture_point="door")
    attempt(1, liveness={"live": "yes", "reasons": []}, capture_point="door")
    assert traffic.suspicions(FORTNIGHT)[1] == ("door", "looks_like_a_picture", 2, 5)
    text = staff("view_verification").get(page("verification", "traffic")).text
    assert "Nobody seemed to be there" in text
    assert text.count("bus 7") == 1


def test_scores_and_qualities_are_counted_in_bins(attempt: Callable[..., None]) -> None:
    attempt(2, score=5.99)
    attempt(3, score=-0.01, decision="no_match")
    attempt(1, score=1000.0)
    attempt(1, score=-1000.0, decision="no_match", quality={"score": 1.0})
    attempt(1, code="low_quality")
    shown_values = traffic.scores(FORTNIGHT)[2]
    assert shown_values["match"][5 - traffic.SCORE_LOW] == 2
    assert shown_values["match"][-1] == 1
    assert shown_values["no_match"][-1 - traffic.SCORE_LOW] == 3
    assert shown_values["no_match"][0] == 1
    quality = traffic.qualities(FORTNIGHT)[2]
    assert (quality[16], quality[19], sum(quality)) == (6, 1, 7)


def test_each_panel_is_one_aggregate_over_the_days_asked_for(attempt: Callable[..., None]) -> None:
    attempt(3)
    for panel in (traffic.days, traffic.scores, traffic.qualities):
        with CaptureQueriesContext(
            connection,
        ) as queries:
            panel(FORTNIGHT)
        (query,) = queries.captured_queries
        assert "GROUP BY" in query["sql"]
        assert query["sql"].count('"at" ') >= 2


def test_a_span_is_bounded_and_in_order() -> None:
    today = date(2026, 3, 31)
    assert Span.of(None, None, today) == Span(date(2026, 3, 18), today)
    assert Span.of(date(2020, 1, 1), None, today).first == today - timedelta(days=traffic.MAX_DAYS - 1)
    assert Span.of(date(2026, 4, 7), date(2026, 4, 9), today) == Span(today, today)


def test_the_stability_index_is_its_formula() -> None:
    reference = [100, 100, 100, 100, 100]
    assert traffic.psi([200] * 5, reference) == pytest.approx(0, abs=1e-3)
    # p = 0.4, 0.15 × 4 against q = 0.2 × 5: (0.2) ln 2 + 4 (−0.05) ln 0.75
    assert traffic.psi([4000, 1500, 1500, 1500, 1500], [2000] * 5) == pytest.approx(0.1962, abs=2e-3)


def test_drift_is_told_only_of_enough_values() -> None:
    reference = [10, 20, 40, 20, 10]
    assert traffic.drift([100, 200, 400, 200, 100], reference)["word"] == "steady"
    assert traffic.drift([500, 200, 200, 50, 50], reference)["word"] == "shifted"
    assert traffic.drift([50, 20, 20, 5, 4], reference)["word"].startswith("too few")
    assert traffic.drift([500] * 5, None)["psi"] is None


def shown(client: Client, query: str = "") -> str:
    answer = client.get(page("verification", "traffic") + query)
    assert answer.status_code == 200
    return str(answer.content.decode())


def test_the_page_holds_live_traffic_against_the_report(attempt: Callable[..., None], operator: Client) -> None:
    attempt(150)
    attempt(6, code="no_face_found")
    assert "none of what it decides with now" in shown(operator)
    config = rollouts.get_config(2)
    live = {"matches": [0] * 45, "quality": [0] * 20}
    live["matches"][20], live["matches"][25], live["quality"][16] = 40, 60, 100
    data = {"live": live, "fta": {"value": 0.01, "low": 0.005, "high": 0.02}}
    EvaluationReport.objects.create(config=config, digest=evidence.config_digest(config), data=data)
    shown_values = shown(operator)
    assert "6 of 156 attempts, 3.8 %" in shown_values
    assert "1.00 % (0.50–2.00)" in shown_values
    assert ">shifted<" in shown_values  # scores: all at 5, where the report has 60 at 10
    assert ">steady<" in shown_values  # quality
    assert "no face found" in shown_values
    assert "Nobody was verified" in shown(operator, "?from=2020-01-01&to=2020-02-01")
    assert "no match" in shown(operator, "?from=yesterday&to=%00")


def test_scores_are_for_those_who_may_see_them(
    attempt: Callable[..., None], viewer: Client, staff: Callable[..., Client]
) -> None:
    attempt(150)
    shown_values = shown(viewer)
    assert "Scores" not in shown_values.split("Bars are what")[0]
    assert "Quality score" in shown_values
    assert staff("view_subject").get(page("verification", "traffic")).status_code == 403
    assert Client().get(page("verification", "traffic")).status_code == 302
