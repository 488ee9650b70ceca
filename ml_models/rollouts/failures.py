"""References that a rollout gave up on, and people whom a version could not verify."""

from __future__ import annotations

from django.db.models import Count, Exists, OuterRef

from .. import conf
from ..models import Embedding, EnsembleConfig, Reference, Rollout, Subject
from .backfill import incomplete, spaces_of


def failures_by_code(rollout: Rollout) -> dict[str, int]:
    rows = rollout.failures.values("code").annotate(count=Count("pk")).order_by("code")
    return {row["code"]: row["count"] for row in rows}


def failures_allowed() -> int:
    """How many references a cut-over may leave behind, to be enrolled again."""
    return int(Reference.objects.count() * conf.get("FAILURES_ALLOWED"))


def people_without_template(config: EnsembleConfig) -> int:
    """How many subjects have references, but none that is embedded in every space of the version."""
    complete = Reference.objects.filter(
        *(Exists(Embedding.objects.filter(reference=OuterRef("pk"), space=space)) for space in spaces_of(config)),
        subject=OuterRef("pk"),
    )
    lacking = Subject.objects.filter(pk__in=incomplete(config).values("subject"))
    return lacking.filter(~Exists(complete)).count()
