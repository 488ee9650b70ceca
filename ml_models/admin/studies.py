"""Studies: a version calibrated or evaluated on pictures sent up here, by a worker, with its progress."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.safestring import SafeString

from ml_models.exceptions import ServiceError
from ml_models.models import EnsembleConfig, StudyJob
from ml_models.services import studies
from ml_models.services.frames import FrameUploadHandler

from .base import Panel, panel_caller, refused, tell_workers
from .display import label, percents

RIGHT = "ml_models.run_study"


class ArchiveUploadHandler(FrameUploadHandler):
    """An archive of pictures is one of faces: it stays in memory, too."""

    limit = studies.MAX_ARCHIVE_BYTES


def start(panel: Panel, request: HttpRequest, object_id: str) -> HttpResponse:
    """The page on which a study of one version is started."""
    if not request.user.has_perm(RIGHT):
        return panel.lacks(request, RIGHT)
    config = panel.require(request, object_id)
    if request.method == "POST" and (job := _opened(request, config)):
        return HttpResponseRedirect(reverse("admin:ml_models_studyjob_change", args=[job.pk]))
    drafted, back = config.state == EnsembleConfig.State.DRAFT, panel.url("change", config.pk)
    return panel.answer(request, "study_start", title=f"Study of {config}", drafted=drafted, back=back)


def _opened(request: HttpRequest, config: EnsembleConfig) -> StudyJob | None:
    archive, said = request.FILES.get("archive"), request.POST
    if archive is None or said.get("kind") not in StudyJob.Kind.values:
        messages.error(request, "Choose what to do, and a ZIP archive.")
        return None
    try:
        job = studies.open_study(
            config,
            said["kind"],
            archive.read(),
            panel_caller(request),
            said.get("people", "").strip(),
            said.get("all_pairs") == "on",
            said.get("stressed") == "on",
        )
    except ServiceError as error:
        refused(request, error)
        return None
    tell_workers(request, "study")
    return job


@admin.register(StudyJob)
class StudyJobAdmin(Panel):
    nothing = "No study was started here. A version's page starts one."
    list_display = ["opened_at", "kind", "config", "state_label", "progress", "by", "finished_at"]
    list_select_related = ["config", "by"]
    list_filter = ["kind", "state"]
    fields = ["config", "kind", "people", "all_pairs", "stressed", "by", "opened_at"]
    change_form_template = "admin/ml_models/study.html"

    def page(self, request: HttpRequest, obj: StudyJob) -> dict[str, Any]:
        sees = request.user.has_perm("ml_models.view_evaluationreport")
        return {
            "state": label(obj.state),
            "open": obj.state in StudyJob.OPEN,
            "lists": [
                {**one, **{rate: f"{percents(one[rate])}\N{NO-BREAK SPACE}%" for rate in ("fmr", "fnmr")}}
                for one in obj.figures
            ],
            "starts": request.user.has_perm(RIGHT),
            "report": obj.report if sees else None,
        }

    @admin.display(description="state", ordering="state")
    def state_label(self, job: StudyJob) -> SafeString:
        return label(job.state)
