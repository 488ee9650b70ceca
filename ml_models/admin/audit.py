"""What happened: events, verifications, erasures, reports, processes. Nobody changes or deletes any of it here."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from django.contrib import admin
from django.db.models import BooleanField, ExpressionWrapper, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from ml_models.engine.errors import EngineError
from ml_models.exceptions import LockedOut, NotLive, ServiceError
from ml_models.models import (
    AuditEvent,
    Erasure,
    EvaluationReport,
    Group,
    Identification,
    ServingProcess,
    Subject,
    Verification,
)
from ml_models.rollouts import processes
from ml_models.services import audit
from ml_models.services.traffic import MAX_DAYS

from . import overview, timeline, traffic
from .base import Panel
from .display import attempt, headline, label, words
from .finding import FindingPanel, exactly
from .lists import codes_under, one_of

_HELD = {"scored": "score", "limit": "threshold", "ahead": "margin", "by_member": "similarities"}
# what only holders of view_scores may see: with it, a face could be tuned until it matches
_SCORES = ("score", *_HELD, *_HELD.values())


DECISIONS = ("match", "review", "no_match")
# what a verify may fail with
CODES = sorted({*codes_under(EngineError), *codes_under(ServiceError)})
# over the face or the lock: only then there is a row besides the event
_ROW_CODES = sorted({*codes_under(EngineError), *codes_under(LockedOut), *codes_under(NotLive)})
_EVENT_CODES = sorted({*DECISIONS, *CODES, "forbidden", "invalid_request", "throttled"})


class AttemptAdmin(FindingPanel):
    """The audit rows of one kind of attempt; scores only for who may see them."""

    list_select_related = ["config", "caller", "subject"]
    # by their names: Django would ask a table of millions which values it holds
    list_filter = [exactly("subject"), one_of("decision", DECISIONS), one_of("code", _ROW_CODES), "config", "at"]
    sortable_by = ["at"]
    ordering = ["-at"]

    readonly_fields = ["person", *_HELD]
    change_form_template = "admin/ml_models/attempt.html"

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        return {"told": attempt(obj)}

    # the host's id is for who may see subjects; others tell them apart by their rows

    def get_list_display(self, request: HttpRequest) -> list[str]:
        named = request.user.has_perm("ml_models.view_subject")
        return [name if named or name != "who" else "subject" for name in self._seen(request, self.list_display)]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        named = request.user.has_perm("ml_models.view_subject")
        # what an attempt that came to no decision has not got
        empty = [name for name in self.fields if getattr(obj, _HELD.get(name, name), True) in ("", None, [], {})]
        seen = [name for name in self._seen(request, self.fields) if name not in empty]
        return [name if not named or name != "subject" else "person" for name in seen]

    def _seen(self, request: HttpRequest, names: Any) -> list[str]:
        sees = request.user.has_perm("ml_models.view_scores")
        return [name for name in names if sees or name not in _SCORES]

    @admin.display(description="outcome")
    def outcome(self, row: Any) -> SafeString:
        return label(row.decision or row.code or "none")

    @admin.display(description="score")
    def scored(self, row: Any) -> str:
        return "–" if row.score is None else f"{row.score:.2f}"

    @admin.display(description="threshold")
    def limit(self, row: Any) -> str:
        return f"{row.threshold:.2f}"

    @admin.display(description="ahead of the next candidate by")
    def ahead(self, row: Any) -> str:
        return f"{row.margin:.2f}"

    @admin.display(description="similarities")
    def by_member(self, row: Any) -> str:
        return ", ".join(f"{name} {value:.2f}" for name, value in row.similarities.items())

    @admin.display(description="subject")
    def who(self, row: Any) -> str:
        return row.subject.subject_id if row.subject else "–"

    @admin.display(description="subject")
    def person(self, row: Any) -> SafeString | str:
        if row.subject is None:
            return "–"
        at = reverse("admin:ml_models_subject_change", args=[row.subject_id])
        return format_html('<a href="{}">{}</a>', at, row.subject.subject_id)


@admin.register(Verification)
class VerificationAdmin(AttemptAdmin):
    nothing = "Nobody was verified yet."
    list_display = ["at", "outcome", "scored", "who", "capture_point", "caller", "config"]
    fields = [
        "id",
        "at",
        "caller",
        "credential_id",
        "capture_point",
        "subject",
        "config",
        "decision",
        "code",
        "scored",
        "limit",
        "condition",
        "voters",
        "by_member",
        "quality",
        "references",
        "frames",
        "frames_dropped",
        "timings_ms",
    ]

    change_list_template = "admin/ml_models/verifications.html"

    def get_urls(self) -> list[URLPattern]:
        return [path("traffic/", self.view(self._traffic), name="ml_models_verification_traffic"), *super().get_urls()]

    def _traffic(self, request: HttpRequest) -> HttpResponse:
        shown = {"title": "Live traffic", "legend": traffic.legend(), "max_days": MAX_DAYS}
        return self.answer(request, "traffic", **shown, **traffic.context(request))


@admin.register(Identification)
class IdentificationAdmin(AttemptAdmin):
    nothing = "Nobody was looked for in a group yet."
    readonly_fields = [*AttemptAdmin.readonly_fields, "roster"]
    list_display = ["at", "outcome", "candidates", "who", "capture_point", "caller", "config"]
    fields = [
        "id",
        "at",
        "caller",
        "credential_id",
        "capture_point",
        "group",
        "roster_digest",
        "roster_size",
        "candidates",
        "subject",
        "config",
        "decision",
        "code",
        "scored",
        "limit",
        "ahead",
        "condition",
        "voters",
        "quality",
        "frames",
        "frames_dropped",
        "timings_ms",
    ]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        named = request.user.has_perm("ml_models.view_group")
        return ["roster" if named and name == "group" else name for name in super().get_fields(request, obj)]

    @admin.display(description="group")
    def roster(self, row: Identification) -> SafeString | str:
        group = Group.objects.filter(pk=row.group).first() if row.group else None
        if group is None:
            return f"{row.group}, deleted since"
        return format_html(
            '<a href="{}">{}</a>', reverse("admin:ml_models_group_change", args=[group.pk]), group.group_id
        )


@admin.register(AuditEvent)
class AuditEventAdmin(FindingPanel):
    """Every event. The host's id of a subject leads to what was done to that subject, by its pseudonym."""

    nothing = "Nothing has happened yet that is recorded."
    list_display = ["at", "deed", "outcome", "who", "credential_id", "capture_point", "short_subject", "sequence"]
    list_filter = [
        exactly("subject"),
        exactly("credential_id"),
        one_of("kind", AuditEvent.Kind.values),
        one_of("code", _EVENT_CODES),
        "at",
    ]
    ordering = ["-id"]
    fields = [
        "id",
        "at",
        "deed",
        "outcome",
        "who",
        "caller",
        "credential_id",
        "capture_point",
        "subject",
        "facts",
        "sequence",
        "digest",
    ]
    readonly_fields = ["deed", "outcome", "who"]

    def get_urls(self) -> list[URLPattern]:
        deeds = path("timeline/", self.view(partial(timeline.page, self)), name="ml_models_auditevent_timeline")
        return [deeds, *super().get_urls()]

    def of(self, subject: Subject) -> str:
        return f"{self.url('changelist')}?subject={audit.named(subject).pseudonym}"

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        shown = super().get_changelist_instance(request)
        shown.result_list = list(shown.result_list)
        _name(shown.result_list)
        return shown

    def get_object(self, *args: Any, **more: Any) -> AuditEvent | None:
        event: AuditEvent | None = super().get_object(*args, **more)
        _name([event] if event else [])
        return event

    @admin.display(description="deed")
    def deed(self, event: AuditEvent) -> str:
        return words(event.kind)

    @admin.display(description="outcome")
    def outcome(self, event: AuditEvent) -> str:
        return words(event.code) or "done"

    @admin.display(description="who")
    def who(self, event: AuditEvent) -> str:
        return event.who  # type: ignore[attr-defined]

    @admin.display(description="subject's pseudonym")
    def short_subject(self, event: AuditEvent) -> str:
        return event.subject[:8] or "–"


def _name(events: Sequence[AuditEvent]) -> None:
    names = timeline.names(event.caller for event in events)
    for event in events:
        event.who = timeline.account(event, names)  # type: ignore[attr-defined]


@admin.register(Erasure)
class ErasureAdmin(Panel):
    nothing = "Nobody was erased."
    list_display = ["at", "by", "references", "short_hash"]
    list_select_related = ["by"]
    list_filter = ["at"]
    ordering = ["-at"]
    fields = ["at", "by", "references", "subject_hash", "reference_hash"]

    @admin.display(description="subject hash")
    def short_hash(self, erasure: Erasure) -> str:
        return erasure.subject_hash[:12] or "–"


@admin.register(EvaluationReport)
class EvaluationReportAdmin(Panel):
    nothing = "No version was measured yet. Start a study from a version's page, or run evaluate."
    list_display = ["created_at", "config", "line", "short_digest", "opened"]
    list_select_related = ["config"]
    list_filter = ["config"]
    fields = ["config", "created_at", "opened", "line", "lists", "people", "digest", "list_digest"]
    readonly_fields = ["opened", "line", "lists", "people"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[EvaluationReport]:
        return super().get_queryset(request).defer("html", "draws")

    def get_urls(self) -> list[URLPattern]:
        html = path("<path:object_id>/html/", self.view(self._html), name="ml_models_evaluationreport_html")
        return [html, *super().get_urls()]

    def _html(self, request: HttpRequest, object_id: str) -> HttpResponse:
        # a page from a row: it may be looked at, and must not act in the operator's name
        policy = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
        html = self.require(request, object_id).html or "This report was kept without a page."
        return HttpResponse(html, headers={"Content-Security-Policy": policy})

    @admin.display(description="headline")
    def line(self, report: EvaluationReport) -> str:
        return headline(report)

    @admin.display(description="digest", ordering="digest")
    def short_digest(self, report: EvaluationReport) -> str:
        return report.digest[:12]

    @admin.display(description="measured on")
    def lists(self, report: EvaluationReport) -> str:
        return ", ".join(report.measured_on.get("lists", [])) or "not said"

    @admin.display(description="whom the pictures show")
    def people(self, report: EvaluationReport) -> str:
        return str(report.measured_on.get("people", "not said"))

    @admin.display(description="page")
    def opened(self, report: EvaluationReport) -> SafeString:
        return format_html('<a href="{}">Open</a>', self.url("html", report.pk))


@admin.register(ServingProcess)
class ServingProcessAdmin(Panel):
    nothing = "No process has reported itself. Start the web server and a worker."
    list_display = ["__str__", "kind", "alive", "started_at", "heartbeat_at", "loaded", "runs_on", "troubles"]
    list_filter = ["kind"]
    ordering = ["-heartbeat_at"]
    fields = ["kind", "host", "pid", "started_at", "heartbeat_at", "alive", "loaded", "runs_on", "troubles"]
    readonly_fields = ["alive", "loaded", "runs_on", "troubles"]

    def get_urls(self) -> list[URLPattern]:
        # for every staff account: each part of the page asks for its own right
        first_page = self.admin_site.admin_view(partial(overview.page, self))
        return [path("overview/", first_page, name="ml_models_overview"), *super().get_urls()]

    def get_queryset(self, request: HttpRequest) -> QuerySet[ServingProcess]:
        live = Q(pk__in=[process.pk for process in processes.live()])
        return super().get_queryset(request).annotate(live=ExpressionWrapper(live, BooleanField()))

    @admin.display(description="alive", boolean=True)
    def alive(self, process: ServingProcess) -> bool:
        return bool(process.live)  # type: ignore[attr-defined]

    @admin.display(description="engines")
    def runs_on(self, process: ServingProcess) -> str:
        return _told(process.engines)

    @admin.display(description="problems")
    def troubles(self, process: ServingProcess) -> str:
        return _told(process.problems)

    @admin.display(description="embedding spaces")
    def loaded(self, process: ServingProcess) -> int:
        return len(process.spaces)


def _told(by_name: dict[str, str]) -> str:
    return "; ".join(f"{name}: {what}" for name, what in sorted(by_name.items())) or "none"
