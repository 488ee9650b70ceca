"""Rollouts: how far, how fast, who is ready, what failed, and the levers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from ml_models import rollouts
from ml_models.models import Rollout, RolloutFailure
from ml_models.rollouts.progress import progress
from ml_models.rollouts.steps import rolled_back
from ml_models.services.callers import By
from ml_models.services.shadow import Summary, summary

from .base import Asked, Button, Done, Panel, panel_caller
from .display import duration, label, words

State = Rollout.State


def _steer(deed: Callable[[Rollout, By], None], says: str) -> Callable[[Rollout, HttpRequest], Done]:
    def does(rollout: Rollout, request: HttpRequest) -> Done:
        deed(rollouts.get_rollout(rollout.pk), panel_caller(request))
        return Done(says)

    return does


def _lever(
    name: str,
    label: str,
    deed: Callable[[Rollout, By], None],
    says: str,
    asks: str,
    *states: str,
    danger: bool = False,
    facts: Callable[[Rollout], Sequence[tuple[str, str]]] = lambda rollout: (),
) -> Button:
    return Button(
        name,
        label,
        "ml_models.control_rollout",
        _steer(deed, says),
        lambda rollout: rollout.state in states,
        lambda rollout: Asked(asks, facts(rollout)),
        danger,
    )


def _go_facts(rollout: Rollout) -> Sequence[tuple[str, str]]:
    people = rollouts.left_behind(rollout)
    return [("People left behind, to be enrolled again", f"{people:,}"), *_shadow_facts(rollout)]


def _shadow_facts(rollout: Rollout) -> Sequence[tuple[str, str]]:
    lines = shadow_lines(summary(rollout)) or [{"text": "no live verify has been scored under this version"}]
    return [("Shadow scoring" if not place else "", line["text"]) for place, line in enumerate(lines)]


def facts(rollout: Rollout, linked: bool) -> dict[str, Any]:
    """Where a rollout stands, as the page says it and its script asks for it every second.

    Args:
        linked: whether the reader may see which references failed.
    """
    now = progress(rollout)
    rate, left = now.references_per_s, now.seconds_left
    return {
        "state": now.state,
        "open": now.state in Rollout.OPEN,
        "percent": now.percent,
        "words": {
            "state": words(now.state),
            "percent": f"{now.percent} %",
            "done": f"{now.pairs - now.missing:,} of {now.pairs:,} embeddings",
            "rate": "–" if rate is None else f"{rate:.1f} references a second",
            "left": "–" if left is None else duration(left),
            "reason": now.reason,
        },
        "shadow": shadow_lines(now.shadow),
        "failures": [
            {"text": f"{words(code)}: {count}", "url": _failures_url(rollout, code) if linked else ""}
            for code, count in now.failures.items()
        ],
        "processes": [
            {"text": f"{name}: {'ready' if ready else 'loading'}", "ready": ready}
            for name, ready in now.processes.items()
        ],
    }


def shadow_lines(shadow: Summary) -> list[dict[str, str]]:
    """What live verifies would have got from the version on its way."""
    if not shadow.scored or shadow.agreement is None:
        return []
    lines = [f"{shadow.scored:,} live verifies scored, {shadow.agreement:.1%} decided alike".replace("%", " %")]
    lines += [f"live {words(live)}: score {shift:+.2f} on average" for live, shift in shadow.score_shift.items()]
    lines += [f"would change, {words(change)}: {count:,}" for change, count in shadow.changes.items()]
    return [{"text": line} for line in lines]


def _failures_url(rollout: Rollout, code: str) -> str:
    query = urlencode({"rollout__id__exact": rollout.pk, "code": code})
    return f"{reverse('admin:ml_models_rolloutfailure_changelist')}?{query}"


@admin.register(Rollout)
class RolloutAdmin(Panel):
    nothing = "No version was rolled out yet. Validate one and activate it."
    list_display = ["named", "state_label", "opened_at", "opened_by", "finished_at", "embeddings", "reason"]
    list_select_related = ["config", "opened_by"]
    list_filter = ["state"]
    change_form_template = "admin/ml_models/rollout.html"
    buttons = (
        _lever(
            "go",
            "Go",
            rollouts.cut_over,
            "The version is active.",
            "Everything is embedded. The versions change now; the one before stays warm, to be rolled back to.",
            State.AWAITING_APPROVAL,
            facts=_go_facts,
        ),
        _lever(
            "pause",
            "Pause",
            rollouts.pause,
            "Paused. What is embedded stays; the active version keeps answering.",
            "Nothing more is handed to the workers until somebody resumes. What is embedded stays.",
            State.EMBEDDING,
        ),
        _lever(
            "resume", "Resume", rollouts.resume, "It goes on where it stopped.", "Go on where it stopped.", State.PAUSED
        ),
        _lever(
            "abort",
            "Abort",
            rollouts.abort,
            "Aborted. Nothing has changed for anybody; activating again does only the rest.",
            "Give up this rollout. The active version stays; what is embedded is kept and not done twice.",
            *Rollout.OPEN,
            danger=True,
        ),
    )

    class Media:
        js = ["ml_models/rollout.js"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Rollout]:
        return super().get_queryset(request).annotate(undone=Exists(rolled_back().filter(pk=OuterRef("config"))))

    def get_urls(self) -> list[URLPattern]:
        progress = path("<path:object_id>/progress/", self.view(self._progress), name="ml_models_rollout_progress")
        return [progress, *super().get_urls()]

    def _progress(self, request: HttpRequest, object_id: str) -> HttpResponse:
        facts = self._facts(request, self.require(request, object_id))
        return JsonResponse(facts, headers={"Cache-Control": "no-store"})

    def _facts(self, request: HttpRequest, rollout: Rollout) -> dict[str, Any]:
        return facts(rollout, linked=request.user.has_perm("ml_models.view_rolloutfailure"))

    def page(self, request: HttpRequest, obj: Rollout) -> dict[str, Any]:
        return {
            "facts": self._facts(request, obj),
            "state": self.state_label(obj),
            "polled": self.url("progress", obj.pk),
        }

    @admin.display(description="version", ordering="config__version")
    def named(self, rollout: Rollout) -> str:
        return str(rollout.config)

    @admin.display(description="embeddings")
    def embeddings(self, rollout: Rollout) -> str:
        return f"{rollout.pairs:,}"

    @admin.display(description="state", ordering="state")
    def state_label(self, rollout: Rollout) -> SafeString:
        undone = rollout.state == State.COMPLETE and rollout.undone  # type: ignore[attr-defined]
        return label("rolled_back" if undone else rollout.state)


@admin.register(RolloutFailure)
class RolloutFailureAdmin(Panel):
    """References that a rollout gave up on: their subjects are to be enrolled again."""

    nothing = "Nobody has to be enrolled again."
    # the theme calls a phone's first line a box to tick, where it is no link to the row
    list_display = ["at", "subject", "reason", "tries", "version", "reference_link"]
    list_filter = ["code", "rollout"]
    fields = readonly_fields = ["subject", "reason", "tries", "version", "at", "reference_link"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[RolloutFailure]:
        rows = super().get_queryset(request).select_related("reference__subject", "rollout__config")
        return rows.filter(RolloutFailure.GIVEN_UP).defer("reference__chip")

    @admin.display(description="to be enrolled again")
    def subject(self, failure: RolloutFailure) -> SafeString:
        subject = failure.reference.subject
        url = reverse("admin:ml_models_subject_change", args=[subject.pk])
        return format_html('<a href="{}">{}</a>', url, subject.subject_id)

    @admin.display(description="reason", ordering="code")
    def reason(self, failure: RolloutFailure) -> str:
        return words(failure.code)

    @admin.display(description="rollout of")
    def version(self, failure: RolloutFailure) -> str:
        return str(failure.rollout.config)

    @admin.display(description="reference")
    def reference_link(self, failure: RolloutFailure) -> SafeString:
        url = reverse("admin:ml_models_reference_change", args=[failure.reference_id])
        return format_html('<a href="{}">{}</a>', url, failure.reference_id)
