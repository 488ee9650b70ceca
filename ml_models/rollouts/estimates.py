"""What it would cost to bring a version live, before anybody does it."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Count

from ..models import Embedding, EnsembleConfig, EnsembleMember, Reference

# A row beside its vector, reckoned: cipher header, nonce and tag (34), keys and the space's name (97), the row's own
# header and three index entries (270).
_ROW_BYTES = 400
# One stored face from its row to the networks' crop: read, decrypt, decode, warp, and the new rows' writing
# (`make rollout-drill`, docs/rollouts.md).
_CHIP_S = 0.003


@dataclass(frozen=True, slots=True)
class Cost:
    """`seconds` is one worker's, by the networks' speed when they were validated; None where it was not measured."""

    references: int
    embeddings: int
    new_bytes: int
    seconds: float | None


def activation_cost(config: EnsembleConfig) -> Cost:
    """Count what the version lacks, space by space, and what it would fill."""
    members = {member.space: member for member in config.members.all()}
    rows = Embedding.objects.filter(space__in=members)
    present = dict(rows.values_list("space").annotate(count=Count("pk")))
    total = Reference.objects.count()
    missing = {space: max(0, total - present.get(space, 0)) for space in members}
    # whoever lacks a space lacks the rarest one, too: a count for each reference would take minutes on millions
    references = max(missing.values(), default=0)
    return Cost(
        references=references,
        embeddings=sum(missing.values()),
        new_bytes=sum(n * (4 * (members[space].artifact.dimension or 0) + _ROW_BYTES) for space, n in missing.items()),
        seconds=_seconds(references, [(members[space], n) for space, n in missing.items() if n]),
    )


def _seconds(references: int, todo: list[tuple[EnsembleMember, int]]) -> float | None:
    total = references * _CHIP_S
    for member, count in todo:
        if member.artifact.seconds_per_face is None:
            return None
        total += count * member.artifact.seconds_per_face * (2 if member.config.flip else 1)
    return total
