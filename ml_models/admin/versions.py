"""Versions of the ensemble: what each one is, what it was measured to do, and the way to its being active."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import Prefetch, QuerySet
from django.db.models.fields.json import KT
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from ml_models import rollouts, selectors, tasks
from ml_models.models import EnsembleConfig, EnsembleMember, EvaluationReport, Rollout
from ml_models.rollouts import backfill
from ml_models.rollouts.estimates import activation_cost
from ml_models.versions import comparison, evidence, files
from ml_models.versions.known import known

from .base import Asked, Button, Done, Panel, panel_caller
from .comparison import beside, difference
from .display import change_facts, cost_facts, headline, label

State = EnsembleConfig.State


def detailed(configs: QuerySet[EnsembleConfig]) -> QuerySet[EnsembleConfig]:
    """Versions with members, artifacts and the latest report of each, in a fixed number of queries."""
    members = EnsembleMember.objects.select_related("artifact").defer("artifact__golden")
    # a report of people who took no part says more than a newer one that is cross-validated
    apart_first = KT("data__cross_validated").asc(nulls_first=True)
    reports = EvaluationReport.objects.order_by("config_id", apart_first, "-created_at")
    latest = reports.distinct("config_id").defer("html")
    return (
        configs.select_related("detector")
        .defer("detector__golden")
        .prefetch_related(Prefetch("members", members), Prefetch("reports", latest, to_attr="latest"))
    )


def active() -> EnsembleConfig | None:
    return detailed(EnsembleConfig.objects.filter(state=State.ACTIVE)).first()


def report_of(config: EnsembleConfig) -> EvaluationReport | None:
    latest: list[EvaluationReport] = config.latest  # type: ignore[attr-defined]
    return latest[0] if latest else None


_OVERRIDE = "Evidence is missing. A superuser who answers for that says here why; it stays with the version:"


def _validate(config: EnsembleConfig, request: HttpRequest) -> Done:
    override = request.POST.get("override_evidence", "").strip()
    rollouts.validate(rollouts.get_config(config.version), panel_caller(request), override)
    return Done(f"Version {config.version} is valid: it can be activated.")


def _known_facts(config: EnsembleConfig) -> list[tuple[str, str]]:
    about = known(config)
    if about is None:
        return []
    figures, lacks = (("", says) for says in about.figures), (("Not known", says) for says in about.lacks)
    return [("Known", about.about), *figures, *lacks]


def _ask_validate(config: EnsembleConfig) -> Asked:
    return Asked(
        "Its files are fetched from the bucket and proven, its weights, thresholds and licences checked. "
        "A valid version cannot be changed any more, only cloned.",
        [("✓" if line.met else "✗", line.says) for line in evidence.lines(config)] + _known_facts(config),
        texts=[("override_evidence", _OVERRIDE)] if evidence.enforced() and evidence.missing(config) else [],
    )


def _activate(config: EnsembleConfig, request: HttpRequest) -> Done:
    hold = request.POST.get("hold_for_approval") == "on"
    rollout = rollouts.open_rollout(rollouts.get_config(config.version), panel_caller(request), hold)
    if not tasks.nudge():
        messages.warning(request, "The task queue does not answer. The rollout begins as soon as it does.")
    return Done(
        f"The rollout of version {config.version} is open.",
        reverse("admin:ml_models_rollout_change", args=[rollout.pk]),
    )


def _ask_activate(config: EnsembleConfig) -> Asked:
    return Asked(
        "The active version keeps answering until everything is embedded and every live process is ready; "
        "then the versions change at once.",
        cost_facts(activation_cost(config)),
        [("hold_for_approval", "Hold for approval: wait for Go before the versions change")],
    )


def _roll_back(config: EnsembleConfig, request: HttpRequest) -> Done:
    earlier = rollouts.roll_back(panel_caller(request), leaving=config.version)
    return Done(
        f"Version {earlier.version} is active again.",
        reverse("admin:ml_models_ensembleconfig_change", args=[earlier.pk]),
    )


def _ask_roll_back(config: EnsembleConfig) -> Asked:
    warm = selectors.rollback_target()
    facts = [("From", str(config))]
    if warm and warm.warm_until:
        facts += [("To", str(warm)), ("Stays warm until", f"{warm.warm_until:%Y-%m-%d %H:%M} UTC")]
        target = rollouts.get_config(warm.version)
        people = rollouts.people_without_template(target)
        facts.append(("Embeddings owed to it, which workers make", f"{backfill.count_missing(target):,}"))
        facts.append(("People who cannot be verified until workers have embedded them", f"{people:,}"))
    return Asked("The earlier version answers from the next request on. It waits for nothing, nothing is lost.", facts)


def _end_warmth(config: EnsembleConfig, request: HttpRequest) -> Done:
    rollouts.end_warmth(config, panel_caller(request))
    return Done(f"Version {config.version} is not warm any more.")


def _ask_end_warmth(config: EnsembleConfig) -> Asked:
    return Asked(
        "Its networks are let go, nobody is embedded for it any more, and nobody can roll back to it: only a rollout "
        "activates it again. What it alone has embedded is deleted by the next purge_retired.",
        [("Would stay warm until", f"{config.warm_until:%Y-%m-%d %H:%M} UTC")] if config.warm_until else [],
    )


def _discard(config: EnsembleConfig, request: HttpRequest) -> Done:
    rollouts.discard(rollouts.get_config(config.version), panel_caller(request))
    return Done(f"Version {config.version} is put away.")


def _ask_discard(config: EnsembleConfig) -> Asked:
    return Asked(
        "It is not to go live. What it alone has embedded is deleted by the next purge_retired; "
        "it can be activated again later, through a rollout."
    )


def _clone(config: EnsembleConfig, request: HttpRequest) -> Done:
    draft = files.clone(config, request.user)
    return Done(
        f"Version {draft.version} is a draft that says the same. Export it, edit the file, load it again.",
        reverse("admin:ml_models_ensembleconfig_change", args=[draft.pk]),
    )


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

    list_display = ["__str__", "state_label", "members_line", "mirrored", "target", "evidence"]
    list_filter = ["state"]
    search_fields = ["name", "notes"]
    fields = ["name", "notes"]
    change_list_template = "admin/ml_models/versions.html"
    change_form_template = "admin/ml_models/version.html"
    buttons = (
        Button(
            "validate",
            "Validate",
            "ml_models.validate_config",
            _validate,
            lambda config: config.state == State.DRAFT,
            _ask_validate,
        ),
        Button(
            "activate",
            "Activate",
            "ml_models.activate_config",
            _activate,
            lambda config: config.state in (State.VALIDATED, State.RETIRED),
            _ask_activate,
        ),
        Button(
            "rollback",
            "Roll back",
            "ml_models.rollback_config",
            _roll_back,
            lambda config: config.state == State.ACTIVE and selectors.rollback_target() is not None,
            _ask_roll_back,
            danger=True,
        ),
        Button(
            "discard",
            "Discard",
            "ml_models.discard_config",
            _discard,
            lambda config: config.state == State.VALIDATED,
            _ask_discard,
            danger=True,
        ),
        Button(
            "end_warmth",
            "End warmth",
            "ml_models.end_warmth",
            _end_warmth,
            lambda config: EnsembleConfig.objects.filter(selectors.warm(), pk=config.pk).exists(),
            _ask_end_warmth,
            danger=True,
        ),
        Button("clone", "Clone", "ml_models.add_ensembleconfig", _clone, lambda config: True),
    )

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

    def get_urls(self) -> list[URLPattern]:
        export = path("<path:object_id>/export/", self.view(self._export), name="ml_models_ensembleconfig_export")
        return [export, *super().get_urls()]

    def _export(self, request: HttpRequest, object_id: str) -> HttpResponse:
        config = self.require(request, object_id)
        text = files.dump(files.export(config))
        name = f'attachment; filename="v{config.version}.yaml"'
        return HttpResponse(text, content_type="application/yaml", headers={"Content-Disposition": name})

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        current = active()
        rolling = Rollout.objects.filter(state__in=Rollout.OPEN).select_related("config").first()
        more = {"active": current, "evidence": headline(report_of(current)) if current else "", "rolling": rolling}
        return super().changelist_view(request, {**more, **(extra_context or {})})

    def page(self, request: HttpRequest, obj: EnsembleConfig) -> dict[str, Any]:
        current = active()
        report = report_of(obj)
        other = None if current is None or current.pk == obj.pk else current
        return {
            "state": label(obj.state),
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
        return f"{config.target_fmr:g}"

    @admin.display(description="evidence")
    def evidence(self, config: EnsembleConfig) -> str:
        return headline(report_of(config))
