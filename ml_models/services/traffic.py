"""What live traffic says, from audit rows alone: counts by version and day, distributions, drift from the report."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db.models import Count, F, FloatField, IntegerField, Q, QuerySet
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Cast, Floor, Greatest, Least, TruncDate

from ..engine.errors import ImageError
from ..models import Identification, Verification

MAX_DAYS = 92
"""A page reads at most this many days of rows."""
# as in the reports, so that both can be held against each other
SCORE_LOW, SCORE_HIGH = -15, 29
QUALITY_BINS = 20
# what a picture is refused for; everything else in `code` is the service's own trouble
ATTACKS = ("challenge_failed", "spoof_suspected")
# what a policy that only monitors says of the same
MONITORED = "looks_like_a_picture"
ACQUISITION = {*ATTACKS, *(refusal.code for refusal in ImageError.__subclasses__())}
ENOUGH = 100
"""Live values under which no drift is told: at ten bins PSI is about 9 / N by luck alone."""


@dataclass(frozen=True, slots=True)
class Span:
    """Whole days in UTC, both included."""

    first: date
    last: date

    @classmethod
    def of(cls, first: date | None, last: date | None, today: date) -> Span:
        """The days asked for, the last fortnight by default, never more than MAX_DAYS, never in disorder."""
        last = min(last or today, today)
        first = min(first or last - timedelta(days=13), last)
        return cls(max(first, last - timedelta(days=MAX_DAYS - 1)), last)

    def rows(self) -> QuerySet[Verification]:
        return Verification.objects.filter(self._inside())

    def searches(self) -> QuerySet[Identification]:
        return Identification.objects.filter(self._inside())

    def _inside(self) -> Q:
        start = datetime.combine(self.first, time(), UTC)
        return Q(at__gte=start, at__lt=start + timedelta(days=(self.last - self.first).days + 1))


@dataclass(slots=True)
class Day:
    """One version's attempts on one day."""

    version: int | None
    day: date
    decisions: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("match", "review", "no_match"), 0))
    codes: dict[str, int] = field(default_factory=dict)

    @property
    def attempts(self) -> int:
        return sum(self.decisions.values()) + sum(self.codes.values())

    @property
    def not_acquired(self) -> int:
        return sum(count for code, count in self.codes.items() if code in ACQUISITION)


def days(span: Span) -> list[Day]:
    """Decisions, and failures by code; newest day first. One aggregate."""
    by_day: dict[tuple[date, int | None], Day] = {}
    counted = span.rows().annotate(day=TruncDate("at", tzinfo=UTC)).values("day", "config__version", "decision", "code")
    for row in counted.annotate(count=Count("pk")).order_by("-day", "-config__version"):
        key = (row["day"], row["config__version"])
        day = by_day.setdefault(key, Day(row["config__version"], row["day"]))
        into, name = (day.decisions, row["decision"]) if row["decision"] else (day.codes, row["code"])
        into[name] = into.get(name, 0) + row["count"]
    return list(by_day.values())


def suspicions(span: Span) -> list[tuple[str, str, int, int]]:
    """Attempts at which nobody seemed to be there: capture point, code, how many, and of how many attempts there to
    verify and identify; the most first. They were refused, or, where the code is `MONITORED`, a verify was answered all
    the same. Three aggregates."""
    attempts: Counter[str] = Counter()
    suspected: Counter[tuple[str, str]] = Counter()
    for rows in (span.rows(), span.searches()):
        for row in rows.values("capture_point", "code").annotate(count=Count("pk")):
            attempts[row["capture_point"]] += row["count"]
            if row["code"] in ATTACKS:
                suspected[row["capture_point"], row["code"]] += row["count"]
    let_pass = span.rows().filter(liveness__live="no")
    for point, count in let_pass.values_list("capture_point").annotate(count=Count("pk")):
        suspected[point, MONITORED] = count
    found = [(point, code, count, attempts[point]) for (point, code), count in suspected.items()]
    return sorted(found, key=lambda item: (-item[2], item[0], item[1]))


def scores(span: Span) -> dict[int | None, dict[str, list[int]]]:
    """By version and decision, how many scores lie in each unit from SCORE_LOW on. One aggregate."""
    whole = Cast(Floor(Greatest(Least(F("score"), float(SCORE_HIGH)), float(SCORE_LOW))), IntegerField())
    decided = span.rows().exclude(decision="").annotate(bin=whole).values("config__version", "decision", "bin")
    counts: dict[int | None, dict[str, list[int]]] = defaultdict(
        lambda: defaultdict(lambda: [0] * (SCORE_HIGH - SCORE_LOW + 1))
    )
    for row in decided.annotate(count=Count("pk")):
        if row["bin"] is not None:
            counts[row["config__version"]][row["decision"]][row["bin"] - SCORE_LOW] += row["count"]
    return counts


def qualities(span: Span) -> dict[int | None, list[int]]:
    """By version, how many probes have a quality score in each twentieth of [0, 1]. One aggregate."""
    value = Cast(KeyTextTransform("score", "quality"), FloatField())
    twentieth = Cast(Floor(Greatest(Least(value, 0.9999), 0.0) * QUALITY_BINS), IntegerField())
    decided = span.rows().exclude(decision="").annotate(bin=twentieth).values("config__version", "bin")
    counts: dict[int | None, list[int]] = defaultdict(lambda: [0] * QUALITY_BINS)
    for row in decided.annotate(count=Count("pk")):
        if row["bin"] is not None:
            counts[row["config__version"]][row["bin"]] += row["count"]
    return counts


def psi(live: Sequence[int], reference: Sequence[int]) -> float:
    """Population stability index, Σ (p − q) · ln(p / q) over bins of about a tenth of the reference each; p and q are
    the live and the reference share, half a value added to every bin. By custom under 0.1 is steady, from 0.25 a
    shift (Siddiqi, 2006)."""
    pairs = _tenths(live, reference)
    totals = [sum(side) + 0.5 * len(pairs) for side in zip(*pairs, strict=True)]
    shares = [((n + 0.5) / totals[0], (m + 0.5) / totals[1]) for n, m in pairs]
    return math.fsum((p - q) * math.log(p / q) for p, q in shares)


def drift(live: Sequence[int], reference: Sequence[int] | None) -> dict[str, Any]:
    """`psi` (None where it cannot be told) and the `word` for it."""
    if not reference or not sum(reference):
        return {"psi": None, "word": "no report to hold it against"}
    if sum(live) < ENOUGH:
        return {"psi": None, "word": f"too few: {sum(live)} of at least {ENOUGH}"}
    value = psi(live, reference)
    return {"psi": value, "word": "steady" if value < 0.1 else "moved" if value < 0.25 else "shifted"}


def _tenths(live: Sequence[int], reference: Sequence[int]) -> list[tuple[int, int]]:
    """Neighbouring bins put together until each holds a tenth of the reference."""
    merged, n, m = [], 0, 0
    for ours, theirs in zip(live, reference, strict=True):
        n, m = n + ours, m + theirs
        if 10 * m >= sum(reference):
            merged.append((n, m))
            n, m = 0, 0
    if n or m:
        last = merged.pop() if merged else (0, 0)
        merged.append((last[0] + n, last[1] + m))
    return merged
