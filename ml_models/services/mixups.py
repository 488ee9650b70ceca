"""Mix-ups: one face under two names of a group, because somebody was enrolled as somebody else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from uuid import UUID

import numpy as np
from django.db.models import QuerySet

from .. import selectors
from ..engine import identify as engine
from ..engine.errors import LowQuality
from ..engine.types import Embeddings
from ..exceptions import NotFound
from ..models import Group, Membership, Reference
from ..runtime import ServedVersion
from ..versions import numbers
from . import admission, audit, groups, rosters, searches
from .callers import Caller
from .rosters import Candidate

MOST_PAIRS = 500
"""One picture that was enrolled under 2,000 names makes two million pairs, which nobody looks through."""


@dataclass(frozen=True, slots=True)
class Searched:
    """What a search among the other members found: the one with this face, None where nobody has it. `references` are
    all that the others had, and `not_embedded` those of them who could not be compared."""

    references: frozenset[UUID]
    same: Candidate | None
    not_embedded: int

    @property
    def warnings(self) -> list[str]:
        same = ["This face matches another member of the group."] if self.same else []
        missed = f"Of the group's members {self.not_embedded} could not be compared with this face yet."
        return [*same, missed] if self.not_embedded else same


@dataclass(frozen=True, slots=True)
class Others:
    """A group's members but the one who is enrolled."""

    caller: Caller
    group: UUID
    subject_id: str

    def search(self, version: ServedVersion, probe: Mapping[str, Embeddings], quality_score: float) -> Searched:
        """Look for a face among them, as identify does and with its threshold.

        Args:
            probe: the new reference, by member.
            quality_score: its picture's, [0, 1].

        Raises:
            SearchedTooMuch: with the caller's credential, lately.
            CryptoError, InferenceFailed, LowQuality, MissingThreshold: then nothing is known.
        """
        references = self._references()
        roster = rosters.read(list(self._members().values_list("subject_id", flat=True)), version.config)
        if not roster.candidates:
            return Searched(references, None, roster.not_embedded)
        searches.spend(self.caller, len(roster.candidates))
        margin = engine.score(version.rule, roster.templates, probe, quality_score).margin
        best = int(margin.argmax())
        same = margin[best] >= version.identification.at(len(roster.candidates)).match
        return Searched(references, roster.candidates[best] if same else None, roster.not_embedded)

    def hold(self) -> frozenset[UUID]:
        """Hold the group until the transaction ends, so that of two who enroll one face in it the second one sees the
        first one's. Returns: the references that the others have now.

        Raises:
            NotFound: the group was deleted meanwhile.
        """
        # NO KEY: a membership's foreign key does not wait for it
        if not Group.objects.select_for_update(no_key=True).filter(pk=self.group).exists():
            raise NotFound("The group was deleted while the picture was processed.")
        return self._references()

    def _members(self) -> QuerySet[Membership]:
        return Membership.objects.filter(group=self.group).exclude(subject_id=self.subject_id)

    def _references(self) -> frozenset[UUID]:
        of_others = Reference.objects.filter(subject__subject_id__in=self._members().values("subject_id"))
        return frozenset(of_others.values_list("pk", flat=True))


def begin(caller: Caller, version: ServedVersion, group_id: str, subject_id: str) -> Others:
    """Before a picture is read: may this caller search the group, and can the version? Each member is a guess.

    Raises:
        InvalidRequest, NotFound: see `groups.existing`.
        NotReady: the version cannot identify.
        Slowed, SearchedTooMuch
    """
    others = Others(caller, groups.existing(group_id).pk, subject_id)
    _ = version.identification
    searches.begin(caller, others._members().count())
    return others


def facts(others: Others, searched: Searched) -> dict[str, str]:
    """What an enrolment's event tells of the search: the group, and the pseudonym of the one who has the face."""
    same = searched.same
    if same is None:
        return {"group": str(others.group)}
    other = audit.named_by_row(same.subject, same.subject_id, same.audit_key)
    return {"group": str(others.group), "other": other.pseudonym}


@dataclass(frozen=True, slots=True)
class Pair:
    """Two members who may be one person. `match`: enrolling the one would be refused for the other's sake; else the
    face is between the thresholds."""

    subject_ids: tuple[str, str]
    match: bool


@dataclass(frozen=True, slots=True)
class Pairs:
    """The likeliest `MOST_PAIRS` of the `found` ones, the likeliest first. `compared` members were; `not_enrolled` and
    `not_embedded` as in `rosters.Roster`. `unusable` have too poor references to search with."""

    pairs: tuple[Pair, ...]
    found: int
    compared: int
    not_enrolled: int
    not_embedded: int
    unusable: int


def find(group_id: str, progress: Callable[[int, int], None] = lambda done, total: None) -> Pairs:
    """Who in a group may be there twice: each one's references are compared with everybody else's, as a verify's frames
    are, with the thresholds that identify has for so many. Under the active version; no network is needed.

    Args:
        progress: called with how many members are done, and how many there are.

    Raises:
        InvalidRequest, NotFound: see `groups.existing`.
        NotReady: no version is active, or it cannot identify.
        CryptoError, InferenceFailed, MissingThreshold
    """
    group = groups.existing(group_id)
    config = selectors.active_config()
    rule, identification = numbers.rule(config), numbers.identification(config)
    roster = rosters.read(list(group.memberships.values_list("subject_id", flat=True)), config)
    quality = _best_quality(group)
    # the others were erased, or left, since the roster was read
    still = np.array([i for i, one in enumerate(roster.candidates) if one.subject_id in quality], np.intp)
    ids, templates = [roster.candidates[i].subject_id for i in still], roster.templates.take(still)
    offset = identification.at(max(1, len(ids) - 1))
    margins = np.full((len(ids), len(ids)), -np.inf)
    unusable = 0
    for i, subject_id in enumerate(ids):
        try:
            own = templates.take(np.array([i])).embeddings
            with admission.admitted(admission.EMBED):  # nobody at a door waits for this
                margins[i] = engine.score(rule, templates, own, quality[subject_id]).margin
        except LowQuality:
            unusable += 1
        progress(i + 1, len(ids))
    # each as the other's probe: the higher one
    margins = np.maximum(margins, margins.T)
    firsts, seconds = np.nonzero(np.triu(margins >= offset.review, 1))
    likeliest = np.argsort(-margins[firsts, seconds], kind="stable")[:MOST_PAIRS]
    pairs = tuple(
        Pair((ids[i], ids[j]), bool(margins[i, j] >= offset.match))
        for i, j in zip(firsts[likeliest], seconds[likeliest], strict=True)
    )
    return Pairs(pairs, len(firsts), len(ids), roster.not_enrolled, roster.not_embedded, unusable)


def _best_quality(group: Group) -> dict[str, float]:
    """The score of each member's best reference, [0, 1]."""
    enrolled = Reference.objects.filter(subject__subject_id__in=group.memberships.values("subject_id"))
    best: dict[str, float] = {}
    for subject_id, score in enrolled.values_list("subject__subject_id", "quality__score"):
        best[subject_id] = max(float(score), best.get(subject_id, 0.0))
    return best
