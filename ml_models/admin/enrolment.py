"""Subjects and references: ids and quality, never a picture or a vector. The deeds are to release and to erase."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.contrib import admin
from django.db.models import Count, Exists, OuterRef, QuerySet, Subquery
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from ml_models import services
from ml_models.models import Reference, RolloutFailure, Subject
from ml_models.services import audit, challenges, lockout
from ml_models.services.erasure import erasures

from . import people
from .base import Asked, Button, Done, panel_caller
from .display import attempt, moment
from .finding import FindingPanel, exactly

# a subject's page shows so many of the last attempts
_ATTEMPTS = 10


def _erase_subject(subject: Subject, request: HttpRequest) -> Done:
    count = services.erase_row(panel_caller(request), subject.pk)
    return Done(f"Erased with {count} references.", reverse("admin:ml_models_subject_changelist"))


def _ask_erase_subject(subject: Subject) -> Asked:
    return Asked(
        "Face images and the embeddings of every version are deleted and cannot be brought back. What remains is that "
        "somebody was erased, when and by whom.",
        [("References", str(subject.references.count()))],
        title=f"Erase {subject.subject_id}",
    )


def _release(subject: Subject, request: HttpRequest) -> Done:
    released = lockout.release_row(panel_caller(request), subject.pk)
    return Done("Released: the subject can be verified again." if released else "There was no lock to lift any more.")


def _ask_release(subject: Subject) -> Asked:
    until = subject.locked_until
    return Asked(
        "Do it only where somebody on the spot knows who stands there. The counts begin anew; whoever guesses on is "
        "locked out longer than before.",
        [("Locked until", moment(until) if until else "not locked")],
        title=f"Release {subject.subject_id}",
    )


def _note(cannot_turn: bool, subject: Subject, request: HttpRequest) -> Done:
    changed = challenges.exempt(panel_caller(request), subject.pk, cannot_turn)
    return Done("Noted." if changed else "It was noted already.")


def _ask_cannot_turn(subject: Subject) -> Asked:
    return Asked(
        "Challenges will ask for no turn of the head. Where they are enforced, a match is answered as review: somebody "
        "on the spot has to look each time.",
        title=f"Cannot turn the head: {subject.subject_id}",
    )


def _ask_can_turn(subject: Subject) -> Asked:
    return Asked(
        "Challenges will ask for turns of the head again.", title=f"Can turn the head again: {subject.subject_id}"
    )


def _erase_reference(reference: Reference, request: HttpRequest) -> Done:
    services.erase_reference(panel_caller(request), reference.pk)
    return Done("Erased.", reverse("admin:ml_models_subject_change", args=[reference.subject_id]))


def _ask_erase_reference(reference: Reference) -> Asked:
    return Asked(
        "This face image and its embeddings of every version are deleted and cannot be brought back.",
        [("Reference", str(reference.pk))],
        title=f"Erase a reference of {reference.subject.subject_id}",
    )


class Locked(admin.SimpleListFilter):
    """Who cannot be verified now, whatever is shown."""

    title = "lock"
    parameter_name = "locked"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin[Subject]) -> list[tuple[str, str]]:
        return [("now", "locked now")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Subject]) -> QuerySet[Subject]:
        return queryset.filter(locked_until__gt=Now()) if self.value() else queryset


class ToEnrolAgain(admin.SimpleListFilter):
    """Of whom a rollout could not embed a reference."""

    title = "enrolment"
    parameter_name = "again"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin[Subject]) -> list[tuple[str, str]]:
        return [("yes", "to be enrolled again")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Subject]) -> QuerySet[Subject]:
        failed = RolloutFailure.objects.filter(RolloutFailure.GIVEN_UP, reference__subject=OuterRef("pk"))
        return queryset.filter(Exists(failed)) if self.value() else queryset


@admin.register(Subject)
class SubjectAdmin(FindingPanel):
    nothing = "Nobody is enrolled."
    list_display = ["subject_id", "references_count", "failed", "locked_until", "created_at"]
    list_filter = [Locked, ToEnrolAgain]
    ordering = ["-created_at"]
    sortable_by = ["subject_id", "created_at"]
    change_list_template = "admin/ml_models/subjects.html"
    fields = ["id", "created_at", "failed", "failed_at", "cannot_turn"]
    readonly_fields = ["failed"]
    change_form_template = "admin/ml_models/subject.html"
    buttons = (
        Button(
            "release",
            "Release",
            "ml_models.release_subject",
            _release,
            lockout.is_held,
            _ask_release,
            kind=audit.Kind.RELEASE,
        ),
        Button(
            "cannot_turn",
            "Cannot turn the head",
            "ml_models.exempt_subject",
            partial(_note, True),
            lambda subject: not subject.cannot_turn,
            _ask_cannot_turn,
            quiet=True,
            kind=audit.Kind.EXEMPT,
        ),
        Button(
            "can_turn",
            "Can turn the head",
            "ml_models.exempt_subject",
            partial(_note, False),
            lambda subject: subject.cannot_turn,
            _ask_can_turn,
            quiet=True,
            kind=audit.Kind.EXEMPT,
        ),
        Button(
            "erase",
            "Erase",
            "ml_models.erase_subject",
            _erase_subject,
            lambda subject: True,
            _ask_erase_subject,
            danger=True,
            kind=audit.Kind.ERASE_SUBJECT,
        ),
    )

    def page(self, request: HttpRequest, obj: Subject) -> dict[str, object]:
        def seen(model: str, rows: Any) -> Any:
            return rows if request.user.has_perm(f"ml_models.view_{model}") else []

        last = obj.verifications.order_by("-at")[:_ATTEMPTS]
        return {
            "enrols": request.user.has_perm(people.ENROLL),
            "locked": Subject.objects.filter(pk=obj.pk, locked_until__gt=Now()).exists(),
            "erasures": seen("erasure", erasures(obj.subject_id)),
            "references": seen("reference", obj.references.defer("chip")),
            "attempts": [(row, attempt(row)) for row in seen("verification", last)],
            "show_history": request.user.has_perm("ml_models.view_auditevent"),
        }

    def of(self, subject: Subject) -> str:
        return self.url("change", subject.pk)

    def get_urls(self) -> list[URLPattern]:
        enrols = people.in_memory(self.view(partial(people.enrol, self)))
        return [path("enrol/", enrols, name="ml_models_subject_enrol"), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        more = {"enrols": request.user.has_perm(people.ENROLL)}
        return super().changelist_view(request, {**more, **(extra_context or {})})

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        """What was done to somebody, in the audit events; they know the pseudonym alone."""
        subject = self.require(request, object_id)
        for right in ("ml_models.view_subject", "ml_models.view_auditevent"):
            if not request.user.has_perm(right):
                return self.lacks(request, right)
        events = reverse("admin:ml_models_auditevent_changelist")
        return HttpResponseRedirect(f"{events}?subject={audit.named(subject).pseudonym}")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Subject]:
        # of the rows on the page alone: a join would group everybody first
        references = Reference.objects.filter(subject=OuterRef("pk")).order_by().values("subject")
        count = Subquery(references.annotate(count=Count("pk")).values("count"))
        return super().get_queryset(request).annotate(count=count)

    @admin.display(description="failures")
    def failed(self, subject: Subject) -> str:
        return f"{subject.failures / 2:g}"

    @admin.display(description="references")
    def references_count(self, subject: Subject) -> int:
        return int(subject.count or 0)  # type: ignore[attr-defined]


@admin.register(Reference)
class ReferenceAdmin(FindingPanel):
    nothing = "No reference is enrolled."
    list_display = ["id", "who", "score", "overridden", "captured_at", "enrolled_by"]
    list_select_related = ["subject", "enrolled_by"]
    list_filter = [exactly("subject"), "overridden", "captured_at"]
    ordering = ["-captured_at"]
    sortable_by = ["captured_at"]
    fields = ["id", "person", "quality", "overridden", "captured_at", "enrolled_by"]
    readonly_fields = ["person"]
    buttons = (
        Button(
            "erase",
            "Erase",
            "ml_models.erase_subject",
            _erase_reference,
            lambda reference: True,
            _ask_erase_reference,
            danger=True,
            kind=audit.Kind.ERASE_REFERENCE,
        ),
    )

    # the host's id is for who may see subjects

    def get_list_display(self, request: HttpRequest) -> list[str]:
        return [self._seen(request, name) for name in self.list_display]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [self._seen(request, name) for name in self.fields]

    def _seen(self, request: HttpRequest, name: str) -> str:
        return "subject" if name in ("who", "person") and not request.user.has_perm("ml_models.view_subject") else name

    @admin.display(description="subject")
    def who(self, reference: Reference) -> str:
        return reference.subject.subject_id

    @admin.display(description="subject")
    def person(self, reference: Reference) -> SafeString:
        at = reverse("admin:ml_models_subject_change", args=[reference.subject_id])
        return format_html('<a href="{}">{}</a>', at, reference.subject.subject_id)

    @admin.display(description="quality")
    def score(self, reference: Reference) -> str:
        score = reference.quality.get("score")
        return "–" if score is None else f"{score:.2f}"
