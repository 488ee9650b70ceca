"""Versions of the ensemble: what each one is, what it was measured to do, and the way to its being active."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from ml_models.models import ConfigStep, EnsembleConfig, Rollout, actor_id
from ml_models.versions import comparison, evidence, files
from ml_models.versions.known import known

from . import people, studies, tuning
from .base import Panel
from .comparison import beside, difference
from .display import change_facts, headline, label
from .reading import active, detailed, report_of
from .version_buttons import BUTTONS

State = EnsembleConfig.State


def _measured(config: EnsembleConfig, other: EnsembleConfig | None, request: HttpRequest) -> dict[str, Any]:
    """The evidence there is and is not, and how the version does against the active one where both were measured on the
    same."""
    if not request.user.has_perm("ml_models.view_evaluationreport"):
        return {}
    both = comparison.common(other, config)[:1] if other else []
    return {
        "report": evidence.best(config) or report_of(config),
        "evidence": evidence.lines(config),
        "known": known(config),
        "overridden": config.steps.filter(overrides_evidence=True).last(),
        "changes": [change_facts(change) for one, two in both for change in comparison.compare(one, two)],
        "compared_on": ", ".join(both[0][1].measured_on.get("lists", [])) if both else "",
    }


@admin.register(EnsembleConfig)
class EnsembleConfigAdmin(Panel):
    """Members and thresholds come from files; here a draft's name and notes can be changed, nothing else."""

    nothing = "There is no version. Load an ensemble file."
    list_display = ["__str__", "state_label", "members_line", "mirrored", "target", "evidence"]
    list_filter = ["state"]
    search_fields = ["name", "notes"]
    fields = ["name", "notes"]
    change_list_template = "admin/ml_models/versions.html"
    change_form_template = "admin/ml_models/version.html"
    buttons = BUTTONS

    def get_queryset(self, request: HttpRequest) -> QuerySet[EnsembleConfig]:
        return detailed(super().get_queryset(request))

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        current = active()

        @admin.display(description="beside the active one")
        def against_active(config: EnsembleConfig) -> str:
            return difference(config, current)

        return [*self.list_display, against_active]

    def has_change_permission(self, request: HttpRequest, obj: EnsembleConfig | None = None) -> bool:
        allowed = request.user.has_perm("ml_models.change_ensembleconfig")
        return bool(allowed and obj is not None and obj.state == State.DRAFT)

    def save_model(self, request: HttpRequest, obj: EnsembleConfig, form: ModelForm, change: bool) -> None:
        # saving the whole row would put back a state that another operator has changed meanwhile
        draft = EnsembleConfig.objects.filter(pk=obj.pk, state=State.DRAFT)
        if not draft.update(name=obj.name, notes=obj.notes):
            messages.error(request, "The version is no draft any more: nothing was changed. Clone it.")
            return
        ConfigStep.objects.create(
            config=obj,
            from_state=State.DRAFT,
            to_state=State.DRAFT,
            by_id=actor_id(request.user),
            reason="name or notes changed",
        )

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        """The steps of a version: Django's own log knows of none of them."""
        config = self.require(request, object_id)
        if not self.has_view_permission(request, config):
            return self.lacks(request, "ml_models.view_ensembleconfig")
        steps, back = config.steps.select_related("by"), self.url("change", config.pk)
        return self.answer(request, "history", title=f"History of {config}", steps=steps, back=back)

    def get_urls(self) -> list[URLPattern]:
        export = path("<path:object_id>/export/", self.view(self._export), name="ml_models_ensembleconfig_export")
        tunes, loads = (self.view(partial(view, self)) for view in (tuning.tune, tuning.upload))
        tune = path("<path:object_id>/tune/", tunes, name="ml_models_ensembleconfig_tune")
        load = path("load/", loads, name="ml_models_ensembleconfig_load")
        starts = people.in_memory(self.view(partial(studies.start, self)), studies.ArchiveUploadHandler)
        study = path("<path:object_id>/study/", starts, name="ml_models_ensembleconfig_study")
        return [export, tune, load, study, *super().get_urls()]

    def _export(self, request: HttpRequest, object_id: str) -> HttpResponse:
        config = self.require(request, object_id)
        text = files.dump(files.export(config))
        name = f'attachment; filename="v{config.version}.yaml"'
        return HttpResponse(text, content_type="application/yaml", headers={"Content-Disposition": name})

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        current = active()
        rolling = Rollout.objects.filter(state__in=Rollout.OPEN).select_related("config").first()
        more = {
            "active": current,
            "evidence": headline(report_of(current)) if current else "",
            "rolling": rolling,
            "loads": request.user.has_perm("ml_models.add_ensembleconfig"),
        }
        return super().changelist_view(request, {**more, **(extra_context or {})})

    def page(self, request: HttpRequest, obj: EnsembleConfig) -> dict[str, Any]:
        current = active()
        report = report_of(obj)
        other = None if current is None or current.pk == obj.pk else current
        return {
            "state": label(obj.state),
            "show_history": True,
            "studies": request.user.has_perm(studies.RIGHT),
            "tunes": self.has_change_permission(request, obj),
            "active": other,
            "lines": beside(obj, report, other, report_of(other) if other else None),
            "artifacts": obj.artifacts,
            "steps": obj.steps.select_related("by"),
            **_measured(obj, other, request),
            "rollouts": obj.rollouts.all()[:5] if request.user.has_perm("ml_models.view_rollout") else [],
        }

    @admin.display(description="state", ordering="state")
    def state_label(self, config: EnsembleConfig) -> SafeString:
        return label(config.state)

    @admin.display(description="members")
    def members_line(self, config: EnsembleConfig) -> SafeString:
        members = ((member.artifact.name, f"{member.weight:.2f}") for member in config.members.all())
        return format_html("<div>{}</div>", format_html_join("", '<div class="fv-member">{} <b>{}</b></div>', members))

    @admin.display(description="flip averaging", ordering="flip")
    def mirrored(self, config: EnsembleConfig) -> str:
        return "yes" if config.flip else "no"

    @admin.display(description="target FMR", ordering="target_fmr")
    def target(self, config: EnsembleConfig) -> str:
        return f"{100 * config.target_fmr:g} %"

    @admin.display(description="evidence")
    def evidence(self, config: EnsembleConfig) -> str:
        return headline(report_of(config))
