"""The page on live traffic: what the audit rows of some days say, version by version."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from typing import Any

from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from ml_models import selectors
from ml_models.models import EnsembleConfig, EvaluationReport
from ml_models.services import traffic
from ml_models.services.traffic import Day, Span
from ml_models.versions import evidence

from .charts import key, stacked
from .display import share, words


def span_of(request: HttpRequest) -> Span:
    """The days that the address asks for; what is no date is taken for unsaid."""
    return Span.of(_date(request.GET.get("from")), _date(request.GET.get("to")), datetime.now(UTC).date())


def context(request: HttpRequest) -> dict[str, Any]:
    """What the page shows; scores only to who may see them."""
    span = span_of(request)
    days = traffic.days(span)
    sees = request.user.has_perm("ml_models.view_scores")
    scores = traffic.scores(span) if sees else {}
    qualities = traffic.qualities(span)
    versions = sorted({day.version for day in days if day.version is not None}, reverse=True)
    configs = {config.version: config for config in selectors.configs().filter(version__in=versions)}
    return {
        "span": span,
        "sees_scores": sees,
        "days": days,
        "codes": _codes(days),
        "suspicions": [(point or "–", words(code), *counts) for point, code, *counts in traffic.suspicions(span)],
        "versions": [
            _version(configs[version], [day for day in days if day.version == version], scores, qualities, sees)
            for version in versions
        ],
    }


def _version(config: EnsembleConfig, days: Sequence[Day], scores: Any, qualities: Any, sees: bool) -> dict[str, Any]:
    report = evidence.best(config)
    held = report.data.get("live", {}) if report else {}
    by_decision = scores.get(config.version, {})
    quality = qualities.get(config.version, [0] * traffic.QUALITY_BINS)
    matches = by_decision.get("match", [0] * len(held.get("matches", [0])))
    return {
        "config": config,
        "report": report,
        "acquisition": _acquisition(days, report),
        "scores": _bars(by_decision, traffic.SCORE_LOW, 1.0, held.get("matches")) if sees else "",
        "score_drift": _drift_label(traffic.drift(matches, held.get("matches"))) if sees else "",
        "quality": _bars({"quality": quality}, 0.0, 1 / traffic.QUALITY_BINS, held.get("quality")),
        "quality_drift": _drift_label(traffic.drift(quality, held.get("quality"))),
    }


def _acquisition(days: Sequence[Day], report: EvaluationReport | None) -> str:
    attempts, lost = sum(day.attempts for day in days), sum(day.not_acquired for day in days)
    summary = f"{lost} of {attempts} attempts, {lost / attempts:.1%}".replace("%", " %") if attempts else "no attempt"
    return f"{summary}; in the report {share(report.data.get('fta'))} of the pictures" if report else summary


def _codes(days: Iterable[Day]) -> list[tuple[int | None, str, int]]:
    totals: dict[tuple[int | None, str], int] = {}
    for day in days:
        for code, count in day.codes.items():
            totals[day.version, code] = totals.get((day.version, code), 0) + count
    ordered = sorted(totals.items(), key=lambda item: (-(item[0][0] or 0), -item[1]))
    return [(version, words(code), count) for (version, code), count in ordered]


def _drift_label(drift: dict[str, Any]) -> SafeString:
    if drift["psi"] is None:
        return format_html("{}", drift["word"])
    tone = {"steady": "green", "moved": "orange", "shifted": "red"}[drift["word"]]
    return format_html('PSI {} <span class="fv-label fv-{}">{}</span>', f"{drift['psi']:.2f}", tone, drift["word"])


_WIDTH, _HEIGHT = 460, 150


def _bars(live: dict[str, Sequence[int]], low: float, step: float, reference: Sequence[int] | None) -> SafeString:
    """Stacked bars of the live counts, and the reference's shape as a line over them, both scaled to their total."""
    bins = max((len(counts) for counts in live.values()), default=0) or 1
    total = sum(map(sum, live.values()))
    sums = [sum(counts[i] for counts in live.values()) for i in range(bins)] if live else [0]
    held = [count / max(1, sum(reference)) for count in reference] if reference else []
    top = max([count / max(1, total) for count in sums] + held + [0.01])
    wide = _WIDTH / bins
    columns = [{name: counts[i] for name, counts in live.items()} for i in range(bins)]
    rects = stacked(columns, max(1, total) * top, _WIDTH, _HEIGHT, gap=1)
    points = " ".join(f"{(i + 0.5) * wide:.1f},{_HEIGHT * (1 - value / top):.1f}" for i, value in enumerate(held))
    line = format_html('<polyline points="{}" fill="none" stroke="currentColor" stroke-width="1.5"/>', points)
    ticks = [(f"{i / 5 * _WIDTH:.0f}", _anchor(i), f"{low + i / 5 * bins * step:g}") for i in range(6)]
    labels = format_html_join("", '<text x="{}" y="166" text-anchor="{}">{}</text>', ticks)
    return format_html(
        '<svg class="fv-chart" viewBox="0 -4 460 176" role="img" aria-label="{} values">{}{}{}</svg>',
        total,
        rects,
        line if held else "",
        labels,
    )


def _anchor(index: int) -> str:
    return {0: "start", 5: "end"}.get(index, "middle")


def _date(text: str | None) -> date | None:
    try:
        return date.fromisoformat(text or "")
    except ValueError:
        return None


def legend() -> list[SafeString]:
    return [key(decision) for decision in ("match", "review", "no_match")]
