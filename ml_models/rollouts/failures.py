"""References that a rollout gave up on, and people whom a version could not verify."""

from __future__ import annotations

from django.db.models import Count, Exists, OuterRef, QuerySet

from .. import conf
from ..models import Embedding, EnsembleConfig, Reference, Rollout, RolloutFailure, Subject
from .backfill import count_missing, incomplete, spaces_of


def given_up(rollout: Rollout) -> QuerySet[RolloutFailure]:
    """The references that the rollout leaves behind."""
    return rollout.failures.filter(RolloutFailure.GIVEN_UP)


def failures_by_code(rollout: Rollout) -> dict[str, int]:
    """How many references it leaves behind, by error code."""
    rows = given_up(rollout).values("code").annotate(count=Count("pk")).order_by("code")
    return {row["code"]: row["count"] for row in rows}


def failures_allowed() -> int:
    """How many references a cut-over may leave behind, to be enrolled again: the share FAILURES_ALLOWED of all.

    One at least, unless that is 0: one damaged chip would keep fewer than a thousand from every new version for ever.
    """
    share = conf.get("FAILURES_ALLOWED")
    return max(1, int(Reference.objects.count() * share)) if share else 0


def left_behind(rollout: Rollout) -> int:
    """How many people the rollout's version cannot verify because it gave up on their references."""
    subjects = Subject.objects.filter(references__in=given_up(rollout).values("reference"))
    return _without_template(subjects, rollout.config)


def people_without_template(config: EnsembleConfig) -> int:
    """How many subjects have references, but none that is embedded in every space of the version."""
    if not count_missing(config):
        return 0
    return _without_template(Subject.objects.filter(pk__in=incomplete(config).values("subject")), config)


def _without_template(subjects: QuerySet[Subject], config: EnsembleConfig) -> int:
    complete = Reference.objects.filter(
        *(Exists(Embedding.objects.filter(reference=OuterRef("pk"), space=space)) for space in spaces_of(config)),
        subject=OuterRef("pk"),
    )
    return subjects.filter(~Exists(complete)).distinct().count()
