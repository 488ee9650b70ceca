"""Enrol a picture, from a file or the camera."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.views.decorators.csrf import csrf_exempt

from ml_models import services
from ml_models.engine.errors import EngineError
from ml_models.exceptions import ServiceError
from ml_models.models import Reference, Subject
from ml_models.services import audit
from ml_models.services.frames import FrameUploadHandler

from .base import Panel, panel_caller, refused

ENROLL, OVERRIDE = "ml_models.enroll_subject", "ml_models.override_reference"


def enrol(panel: Panel, request: HttpRequest) -> HttpResponse:
    """Add a picture from a file or the camera."""
    if not request.user.has_perm(ENROLL):
        if request.method == "POST":
            audit.record(audit.Kind.ENROLL, panel_caller(request), code="forbidden")
        return panel.lacks(request, ENROLL)
    pk = _uuid(request.GET.get("subject", ""))
    known = Subject.objects.filter(pk=pk).first() if pk else None
    subject_id = request.POST.get("subject_id", known.subject_id if known else "")
    if request.method == "POST" and (reference := _enrolled(request, subject_id)):
        return HttpResponseRedirect(panel.url("change", reference.subject_id))
    overrides = request.user.has_perm(OVERRIDE)
    return panel.answer(request, "enrol", title="Enrol a picture", subject_id=subject_id, overrides=overrides)


def _enrolled(request: HttpRequest, subject_id: str) -> Reference | None:
    """The new reference; None where it is refused, and the messages say why."""
    picture = request.FILES.get("image")
    if picture is None:
        messages.error(request, "There is no picture: choose a file, or take one with the camera.")
        return None
    override = request.POST.get("override") == "on"
    if override and not request.user.has_perm(OVERRIDE):
        audit.record(audit.Kind.OVERRIDE, panel_caller(request), code="forbidden")
        raise PermissionDenied
    try:
        done = services.enroll(panel_caller(request), subject_id, picture.read(), override)
    except (ServiceError, EngineError) as error:
        refused(request, error)
        return None
    for warning in done.warnings:
        messages.warning(request, warning)
    messages.success(request, f"Enrolled, with a picture of quality {done.quality.score:.2f}.")
    return done.reference


def in_memory(
    view: Callable[..., HttpResponse], handler: type[FrameUploadHandler] = FrameUploadHandler
) -> Callable[..., HttpResponse]:
    """A view whose upload is kept in memory. The token against forgery stands in the same form, so it is read, and
    asked for, after that is said: `view` asks for it."""

    @csrf_exempt
    @wraps(view)
    def wrapped(request: HttpRequest, **named: Any) -> HttpResponse:
        request.upload_handlers = [handler(request)]
        try:
            return view(request, **named)
        except EngineError as error:  # it is too large: nobody has looked at it
            refused(request, error)
            return HttpResponseRedirect(request.path)

    return wrapped


def _uuid(text: str) -> UUID | None:
    """A primary key from an address; what is none is taken for unsaid."""
    try:
        return UUID(text)
    except ValueError:
        return None
