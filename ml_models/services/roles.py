"""Ready-made groups of accounts, each with the rights that its work takes and no other."""

from __future__ import annotations

from django.contrib.auth.models import Group, Permission
from django.db import transaction

_VERSIONS = (
    "view_ensembleconfig",
    "view_artifact",
    "view_evaluationreport",
    "view_studyjob",
    "view_rollout",
    "view_rolloutfailure",
)
_PEOPLE = ("view_subject", "view_reference", "view_group", "view_erasure")
_SERVICE = ("view_servingprocess", "view_verification", "view_identification", "view_credentialcount")

ROLES: dict[str, tuple[str, ...]] = {
    "Kiosk": ("verify_subject",),
    "Door": ("identify_subject", "identify_group"),
    "Enrolment desk": (
        *_PEOPLE,
        "view_rolloutfailure",
        "enroll_subject",
        "verify_subject",
        "read_subject",
        "erase_subject",
        "read_group",
        "write_group",
        "erase_group",
        "enroll_group",
    ),
    "Operator": (
        *_VERSIONS,
        *_PEOPLE,
        *_SERVICE,
        "add_ensembleconfig",
        "change_ensembleconfig",
        "run_study",
        "validate_config",
        "discard_config",
        "rollback_config",
        "control_rollout",
        "release_subject",
        "exempt_subject",
        "release_credential",
        "find_duplicates",
        "view_candidates",
    ),
    "Approver": (*_VERSIONS, *_SERVICE, "activate_config", "rollback_config", "end_warmth", "control_rollout"),
    "Auditor": (*_VERSIONS, *_PEOPLE, *_SERVICE, "view_auditevent", "view_scores"),
}
"""By the group's name, codenames of the app's permissions. Whoever works in the panel needs `is_staff` besides."""


def ensure() -> dict[str, bool]:
    """Make the groups that are missing and give each the rights it lacks; none is taken away, since the deployment may
    have added some. Returns: by name, whether anything was changed.

    Raises:
        LookupError: a right is not there yet: `migrate` makes them.
    """
    with transaction.atomic():
        return {name: _ensure(name, codenames) for name, codenames in ROLES.items()}


def _ensure(name: str, codenames: tuple[str, ...]) -> bool:
    rights = Permission.objects.filter(content_type__app_label="ml_models", codename__in=codenames)
    if missing := set(codenames) - set(rights.values_list("codename", flat=True)):
        raise LookupError(f"{name} needs {', '.join(sorted(missing))}. Run migrate first.")
    group, created = Group.objects.get_or_create(name=name)
    lacking = rights.exclude(group=group)
    changed = created or lacking.exists()
    group.permissions.add(*lacking)
    return changed
