"""What it would cost to bring a version live, before anybody does it."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Count

from .models import Embedding, EnsembleConfig, Reference, Rollout

# A row beside its vector, reckoned: cipher header, nonce and tag (34), keys and the space's name (97), the row's own
# header and three index entries (270).
_ROW_BYTES = 400


@dataclass(frozen=True, slots=True)
class Cost:
    """`seconds` is one worker's at the pace of the last rollout, None where none has told it yet."""

    references: int
    embeddings: int
    new_bytes: int
    seconds: float | None


def activation_cost(config: EnsembleConfig) -> Cost:
    """Count what the version lacks, space by space, and what it would fill."""
    members = {member.space: member.artifact.dimension or 0 for member in config.members.all()}
    rows = Embedding.objects.filter(space__in=members)
    present = dict(rows.values_list("space").annotate(count=Count("pk")))
    whole = rows.values("reference").annotate(spaces=Count("pk")).filter(spaces=len(members)).count()
    total = Reference.objects.count()
    missing = {space: max(0, total - present.get(space, 0)) for space in members}
    references = max(0, total - whole)
    return Cost(
        references=references,
        embeddings=sum(missing.values()),
        new_bytes=sum(count * (4 * members[space] + _ROW_BYTES) for space, count in missing.items()),
        seconds=_seconds(references),
    )


def _seconds(references: int) -> float | None:
    if not references:
        return 0.0
    told = Rollout.objects.filter(seconds_per_reference__isnull=False).order_by("-opened_at")
    pace = told.values_list("seconds_per_reference", flat=True).first()
    return None if pace is None else references * pace
