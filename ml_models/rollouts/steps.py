"""A version's step from one state to the next: a conditional update, and a row that says who did it and why."""

from __future__ import annotations

from django.db.models import OuterRef, QuerySet, Subquery

from ..exceptions import RolloutRefused
from ..models import ConfigStep, EnsembleConfig, actor_id
from ..services import audit
from ..services.callers import By, as_caller

ROLLED_BACK = "rolled back"
"""The reason of the step by which a version that is rolled back leaves."""


def rolled_back() -> QuerySet[EnsembleConfig]:
    """Versions that a rollback took out of service, and that are not active again."""
    active = EnsembleConfig.State.ACTIVE
    left = ConfigStep.objects.filter(config=OuterRef("pk"), from_state=active).order_by("-at", "-pk").values("reason")
    return EnsembleConfig.objects.exclude(state=active).annotate(left=Subquery(left[:1])).filter(left=ROLLED_BACK)


def move(
    config: EnsembleConfig, source: str, target: str, by: By, reason: str = "", overrides_evidence: bool = False
) -> None:
    """Move a version from one state to another and write the step down; the caller holds `locks.change_versions`, or
    the version's row.

    Raises:
        RolloutRefused: it is not in `source` any more.
    """
    moved = EnsembleConfig.objects.filter(pk=config.pk, state=source).update(state=target)
    if not moved:  # another operator moved it between our read and this write
        raise RolloutRefused(f"Version {config.version} is not {source} any more. Look again.")
    ConfigStep.objects.create(
        config=config,
        from_state=source,
        to_state=target,
        by_id=actor_id(as_caller(by).account),
        reason=reason,
        overrides_evidence=overrides_evidence,
    )
    if target == EnsembleConfig.State.ACTIVE:
        audit.record(audit.Kind.ACTIVATE, as_caller(by), version=config.version, before=source)
