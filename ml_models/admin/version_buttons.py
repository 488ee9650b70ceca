"""What an operator may do with a version, and what each deed's page says before it is done."""

from __future__ import annotations

from django.http import HttpRequest
from django.urls import reverse

from ml_models import conf, rollouts, selectors
from ml_models.models import EnsembleConfig
from ml_models.rollouts import backfill
from ml_models.rollouts.estimates import activation_cost
from ml_models.rollouts.steps import rolled_back
from ml_models.versions import evidence, files
from ml_models.versions.known import known

from .base import Asked, Button, Done, panel_caller, tell_workers
from .comparison import Line, beside
from .display import cost_facts, moment
from .reading import active, detailed, report_of

State = EnsembleConfig.State

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
        _known_facts(config),
        title=f"Validate version {config.version}",
        evidence=evidence.lines(config),
        texts=[("override_evidence", _OVERRIDE)] if evidence.enforced() and evidence.missing(config) else [],
    )


def _activate(config: EnsembleConfig, request: HttpRequest) -> Done:
    hold = request.POST.get("hold_for_approval") == "on"
    rollout = rollouts.open_rollout(rollouts.get_config(config.version), panel_caller(request), hold)
    tell_workers(request, "rollout")
    return Done(
        f"The rollout of version {config.version} is open.",
        reverse("admin:ml_models_rollout_change", args=[rollout.pk]),
    )


def _ask_activate(config: EnsembleConfig) -> Asked:
    current = active()
    if current is None:
        title, waits = f"Activate version {config.version}", "Nobody is verified until"
    else:
        title = f"Activate version {config.version} in place of version {current.version}"
        waits = f"Version {current.version} keeps answering until"
    second = conf.get("SECOND_PERSON")
    then = "then somebody else gives the Go, and the versions change" if second else "then the versions change at once"
    hold = [("hold_for_approval", "Hold for approval: wait for Go before the versions change")]
    return Asked(
        f"{waits} everything is embedded and every live process is ready; {then}.",
        cost_facts(activation_cost(config)),
        [] if second else hold,
        title=title,
        evidence=evidence.lines(config),
        versions=(config, current),
        differences=_differences(config, current),
    )


def _differences(config: EnsembleConfig, current: EnsembleConfig | None) -> list[Line]:
    """What another version decides otherwise with than the active one; nothing where none is active."""
    if current is None:
        return []
    lines = beside(config, report_of(config), current, report_of(current))
    return [line for line in lines if line.differs and line.what not in ("Name", "Evidence")]


def _roll_back(config: EnsembleConfig, request: HttpRequest) -> Done:
    earlier = rollouts.roll_back(panel_caller(request), leaving=config.version)
    return Done(
        f"Version {earlier.version} is active again.",
        reverse("admin:ml_models_ensembleconfig_change", args=[earlier.pk]),
    )


def _rollback_label(config: EnsembleConfig) -> str:
    """A version that was rolled back is returned to; else one goes back."""
    warm = selectors.rollback_target()
    if warm is None:
        return "Roll back"
    again = rolled_back().filter(pk=warm.pk).exists()
    return f"{'Return' if again else 'Roll back'} to version {warm.version}"


def _ask_roll_back(config: EnsembleConfig) -> Asked:
    says = "It answers from the next request on. It waits for nothing, nothing is lost."
    warm = selectors.rollback_target()
    if warm is None or warm.warm_until is None:
        return Asked(says)
    target = detailed(EnsembleConfig.objects.filter(pk=warm.pk)).get()
    current = detailed(EnsembleConfig.objects.filter(pk=config.pk)).get()
    facts = [
        ("From", str(config)),
        ("To", str(warm)),
        ("Stays warm until", moment(warm.warm_until)),
        ("Embeddings owed to it, which workers make", f"{backfill.count_missing(target):,}"),
        (
            "People who cannot be verified until workers have embedded them",
            f"{rollouts.people_without_template(target):,}",
        ),
    ]
    return Asked(
        says,
        facts,
        title=f"{_rollback_label(config)} from version {config.version}",
        evidence=evidence.lines(target),
        versions=(target, current),
        differences=_differences(target, current),
    )


def _end_warmth(config: EnsembleConfig, request: HttpRequest) -> Done:
    rollouts.end_warmth(config, panel_caller(request))
    return Done(f"Version {config.version} is not warm any more.")


def _ask_end_warmth(config: EnsembleConfig) -> Asked:
    return Asked(
        "Its networks are let go, nobody is embedded for it any more, and nobody can roll back to it: only a rollout "
        "activates it again. What it alone has embedded is deleted by the next purge_retired.",
        [("Would stay warm until", moment(config.warm_until))] if config.warm_until else [],
        title=f"End the warmth of version {config.version}",
    )


def _discard(config: EnsembleConfig, request: HttpRequest) -> Done:
    rollouts.discard(rollouts.get_config(config.version), panel_caller(request))
    return Done(f"Version {config.version} is put away.")


def _ask_discard(config: EnsembleConfig) -> Asked:
    return Asked(
        "It will not go live. What it alone has embedded is deleted by the next purge_retired; "
        "it can be activated again later, through a rollout.",
        title=f"Discard version {config.version}",
    )


def _clone(config: EnsembleConfig, request: HttpRequest) -> Done:
    draft = files.clone(config, request.user)
    return Done(
        f"Version {draft.version} is a draft that says the same. Export it, edit the file, load it again.",
        reverse("admin:ml_models_ensembleconfig_change", args=[draft.pk]),
    )


BUTTONS = (
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
        _rollback_label,
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
