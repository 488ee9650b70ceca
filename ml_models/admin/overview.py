"""The panel's first page: what needs somebody, what is live, who is well, and the last 24 hours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from ml_models import selectors
from ml_models.models import (
    CredentialCount,
    EnsembleConfig,
    Identification,
    Rollout,
    RolloutFailure,
    Subject,
    Verification,
)
from ml_models.rollouts.progress import progress
from ml_models.services import overview
from ml_models.services.overview import Attempts, Health
from ml_models.versions import evidence

from . import finding
from .base import Panel
from .charts import key, stacked
from .display import moment, words
from .notices import notices

# so many locked subjects have a line of their own
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Need:
    """Something that waits for a person, and the page on which it is worked off."""

    says: str
    link: str


def page(panel: Panel, request: HttpRequest) -> HttpResponse:
    """Each part is for those who may see what it is about."""

    def may(model: str) -> bool:
        return bool(request.user.has_perm(f"ml_models.view_{model}"))

    health = overview.health() if may("servingprocess") else None
    active = selectors.configs().filter(state=EnsembleConfig.State.ACTIVE).first() if may("ensembleconfig") else None
    context = {
        "title": "Overview",
        # the theme's header would name the model that this page is an address of
        "opts": None,
        "content_title": "Overview",
        "notices": notices(of_evidence=False),
        "needs": list(_needs(may, health, active)),
        "active": active,
        "sees_versions": may("ensembleconfig"),
        **(finding.subjects_finder() if may("subject") else {}),
        "rollout": _rollout() if may("rollout") else None,
        "health": _health(health) if health else [],
        "traffic": list(_traffic(may)),
    }
    return panel.answer(request, "overview", **context)


def _needs(may: Callable[[str], bool], health: Health | None, active: EnsembleConfig | None) -> Iterator[Need]:
    if health:
        yield from _of_health(health)
    if may("rollout"):
        for rollout in Rollout.objects.filter(state__in=("awaiting_approval", "paused")).select_related("config"):
            yield Need(f"The rollout of {rollout.config}: {words(rollout.state)}.", _change("rollout", rollout.pk))
    if may("rolloutfailure") and (count := RolloutFailure.objects.filter(RolloutFailure.GIVEN_UP).count()):
        yield Need(f"{_many(count, 'reference')} to be enrolled again.", _list("rolloutfailure"))
    if may("subject"):
        yield from _of_locks()
    if may("credentialcount") and (count := CredentialCount.objects.filter(slowed_until__gt=Now()).count()):
        yield Need(
            f"{_many(count, 'credential')} slowed: far more faces failed with it than honest ones do.",
            _list("credentialcount"),
        )
    if may("ensembleconfig"):
        yield from _of_evidence(active)


def _of_health(health: Health) -> Iterator[Need]:
    link = _list("servingprocess")
    for kind, names in health.live.items():
        if not names:
            yield Need(f"No {kind} process reports itself. Start one.", link)
    for name, seconds in health.silent.items():
        yield Need(f"The {name} has been silent for {seconds:.0f} s: it ended, or it hangs.", link)
    if not health.jobs_run:
        since = "never" if health.job_s is None else f"last {health.job_s:.0f} s ago"
        yield Need(f"The jobs that beat starts were {since} done. Look after beat and the workers.", link)


def _of_locks() -> Iterator[Need]:
    locked = Subject.objects.filter(locked_until__gt=Now()).order_by("-locked_until")
    for subject in locked[:_NAMED]:
        says = f"{subject.subject_id} is locked out until {moment(subject.locked_until)}."
        yield Need(says, _change("subject", subject.pk))
    if (more := locked.count() - _NAMED) > 0:
        yield Need(f"{_many(more, 'more subject')} locked out.", f"{_list('subject')}?locked=now")


def _of_evidence(active: EnsembleConfig | None) -> Iterator[Need]:
    if active is None:
        yield Need("No version is active: nobody can be enrolled or verified.", _list("ensembleconfig"))
    elif lacking := evidence.missing(active):
        says = lacking[0] if len(lacking) == 1 else f"{len(lacking)} requirements are not met."
        yield Need(f"{active} lacks evidence: {says}", _change("ensembleconfig", active.pk))


def _rollout() -> dict[str, Any] | None:
    rollout = Rollout.objects.filter(state__in=Rollout.OPEN).select_related("config").first()
    if rollout is None:
        return None
    return {"config": rollout.config, "link": _change("rollout", rollout.pk), "percent": progress(rollout).percent}


def _health(health: Health) -> list[tuple[str, str, bool]]:
    """What, how it is, and whether that is well."""
    lines = [(f"{kind} processes", ", ".join(names) or "none", bool(names)) for kind, names in health.live.items()]
    told = "never done" if health.job_s is None else f"done {health.job_s:.0f} s ago"
    return [*lines, ("jobs of beat", told, health.jobs_run)]


def _traffic(may: Callable[[str], bool]) -> Iterator[dict[str, Any]]:
    if may("verification"):
        link = reverse("admin:ml_models_verification_traffic")
        yield _day("Verifies", overview.attempts(Verification), link, "Live traffic by day and version")
    if may("identification"):
        searches = overview.attempts(Identification)
        if searches.lately or searches.before:  # most deployments have no door that searches
            yield _day("Identifications", searches, _list("identification"), "All identifications")


def _day(name: str, attempts: Attempts, link: str, link_says: str) -> dict[str, Any]:
    lately, before = attempts.lately, attempts.before
    return {
        "name": name,
        "rows": [(key(outcome), lately[outcome], before[outcome]) for outcome in overview.OUTCOMES],
        "total": (lately.total(), before.total()),
        "chart": _bars(name, attempts.hours),
        "link": link,
        "link_says": link_says,
    }


_WIDTH, _HEIGHT = 480, 120


def _bars(name: str, hours: list[Counter[str]]) -> SafeString:
    """A stacked bar for each hour."""
    most = max([hour.total() for hour in hours] + [1])
    told = f"{name} of the last {len(hours)} hours, {most} in the busiest"
    return format_html(
        '<svg class="fv-chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}'
        '<text x="0" y="{}">24 h ago</text><text x="{}" y="{}" text-anchor="end">now</text></svg>',
        _WIDTH,
        _HEIGHT + 22,
        told,
        stacked(hours, most, _WIDTH, _HEIGHT, gap=2),
        _HEIGHT + 16,
        _WIDTH,
        _HEIGHT + 16,
    )


def _many(count: int, what: str) -> str:
    return f"{count} {what} is" if count == 1 else f"{count} {what}s are"


def _list(model: str) -> str:
    return reverse(f"admin:ml_models_{model}_changelist")


def _change(model: str, pk: Any) -> str:
    return reverse(f"admin:ml_models_{model}_change", args=[pk])
