"""Credentials: how many people each failed, and which are slowed for it."""

from __future__ import annotations

from urllib.parse import urlencode

from django.contrib import admin
from django.db.models import F
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from ml_models.models import CredentialCount
from ml_models.services import audit, lockout

from .base import Asked, Button, Done, Panel, panel_caller

_EVENTS = "admin:ml_models_auditevent_changelist"


def _release(count: CredentialCount, request: HttpRequest) -> Done:
    released = lockout.release_credential(panel_caller(request), count.pk)
    return Done(
        "Released: its count begins anew." if released else "It was not slowed any more.",
        reverse("admin:ml_models_credentialcount_changelist"),
    )


def _is_slowed(count: CredentialCount) -> bool:
    return count.slowed_until is not None and count.slowed_until > timezone.now()


def _ask_release(count: CredentialCount) -> Asked:
    return Asked(
        "It failed far more people than honest ones fail. Lift it once you know why: the camera was bad and is mended. "
        "A stolen key is revoked instead.",
        [("Visits", f"{count.visits:.0f}"), ("Failed", f"{count.failures:.1f}".removesuffix(".0"))],
    )


@admin.register(CredentialCount)
class CredentialCountAdmin(Panel):
    nothing = "No credential has tried anybody yet."
    list_display = ["credential", "visits_", "failures_", "slowed", "slowed_until", "counted_at"]
    ordering = [F("slowed_until").desc(nulls_last=True)]
    fields = ["credential", "visits_", "failures_", "counted_at", "slowed", "slowed_until", "events"]
    readonly_fields = ["visits_", "failures_", "slowed", "events"]
    buttons = (
        Button(
            "release",
            "Release",
            "ml_models.release_credential",
            _release,
            _is_slowed,
            _ask_release,
            kind=audit.Kind.RELEASE,
        ),
    )

    @admin.display(description="visits", ordering="visits")
    def visits_(self, count: CredentialCount) -> str:
        return f"{count.visits:.0f}"

    @admin.display(description="of them failed", ordering="failures")
    def failures_(self, count: CredentialCount) -> str:
        return f"{count.failures:.1f}".removesuffix(".0")

    @admin.display(description="audit events")
    def events(self, count: CredentialCount) -> SafeString:
        query = urlencode({"credential_id": count.credential})
        return format_html('<a href="{}?{}">What was done with it</a>', reverse(_EVENTS), query)

    @admin.display(description="slowed", boolean=True)
    def slowed(self, count: CredentialCount) -> bool:
        return _is_slowed(count)
