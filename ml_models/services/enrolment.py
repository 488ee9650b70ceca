"""A further reference for a subject: compared with the ones there are, embedded for every served version, written.

Only the active version's networks are needed for it. What another version needs and this process cannot make is owed: a
missing row, which the workers find and fill (`rollouts.backfill`).
"""

from __future__ import annotations

import logging
import uuid
from contextlib import suppress
from dataclasses import dataclass

from django.db import transaction

from .. import conf, crypto, runtime, selectors
from ..engine.align import encode_chip
from ..engine.conditions import CONDITIONS
from ..engine.errors import ArtifactRejected, InferenceFailed
from ..engine.fuse import by_member
from ..engine.types import Extraction, Feature, Quality
from ..exceptions import (
    ConfigChanged,
    InvalidRequest,
    NotFound,
    NotReady,
    ReferenceMismatch,
    ReferencesLost,
)
from ..models import Actor, Embedding, EnsembleConfig, Erasure, Reference, Subject, actor_id
from ..runtime import ServedVersion
from ..versions import locks
from . import lockout, subject_ids
from .embeddings import embed_chip, sealed

logger = logging.getLogger(__name__)

# A version change and another enrolment of the same subject may both come between; more is a storm.
MAX_TRIES = 5


@dataclass(frozen=True, slots=True)
class Enrolled:
    reference: Reference
    config: EnsembleConfig
    quality: Quality
    warnings: list[str]


def enroll(caller: Actor, subject_id: str, image: bytes, override: bool = False) -> Enrolled:
    """Add a reference to a subject, who begins to exist with the first one.

    Args:
        caller: kept with the reference.
        subject_id: the host's id.
        image: one picture.
        override: enroll although the face does not match the template; the caller's right to it is the view's matter.

    Raises:
        ImageError: the picture is refused.
        ReferenceMismatch: the subject has references and this face does not match them.
        LockedOut: too many faces that were not the subject's were shown, this one perhaps the last.
        InvalidRequest: the id breaks the rule, or the subject has as many references as it may have.
        NotFound: the subject was erased meanwhile.
        NotReady
    """
    subject_ids.require(subject_id)
    version = runtime.active()
    config = version.config
    known = Subject.objects.filter(subject_id=subject_id).first()
    erasures = _erasures(subject_id)
    extraction = version.pipeline.extract(image, version.enroll_limits, stored=True)
    condition = version.rule.condition_of(by_member([extraction]))
    new = _NewReference(subject_id, known.pk if known else None, erasures, extraction, caller)
    features: dict[str, Feature] = {m.space: extraction.feature(m.artifact.name) for m in config.members.all()}
    owed: set[str] = set()
    for _ in range(MAX_TRIES):
        checked = _check_against_template(version, new, override)
        with transaction.atomic():
            locks.share_versions()
            active, others = _served_here()
            needed, must = selectors.members_by_space([active, *others]), selectors.members_by_space([active])
            owed -= must.keys()
            # a version went live, or a reference came, between our reads and this lock: let go, do the rest, come back
            complete = needed.keys() <= features.keys() | owed
            made = {space: features[space] for space in needed.keys() - owed} if complete else {}
            reference = write(new, checked, made) if complete else None
        if reference:
            break
        for space in needed.keys() - features.keys() - owed:
            member, flip = needed[space]
            try:
                features[space] = embed_chip(extraction.chip, member, flip)
            except (NotReady, InferenceFailed):
                if space in must:
                    raise
                owed.add(space)
    else:
        raise ConfigChanged("The subject or the served versions changed while the picture was processed. Try again.")
    warnings = ["This face was not matched to the subject's earlier references."] if checked.overridden else []
    if condition and CONDITIONS[condition.name].warning:
        warnings.append(CONDITIONS[condition.name].warning)
    logger.info("enrolled reference %s", reference.pk)
    return Enrolled(reference, config, extraction.quality, warnings)


def _served_here() -> tuple[EnsembleConfig, list[EnsembleConfig]]:
    """The active version, and the others that a new reference is embedded for at once.

    Raises:
        NotReady: no version is active, or this process has not loaded its networks.
    """
    states = selectors.served_states()
    active = runtime.active().config
    others = []
    for pk in states.keys() - {active.pk}:
        # one that is rolling out, or warm, refuses nobody
        with suppress(NotReady, ArtifactRejected):
            others.append(runtime.served(pk).config)
    return active, others


@dataclass(frozen=True, slots=True)
class _NewReference:
    subject_id: str
    known: uuid.UUID | None
    erasures: int
    extraction: Extraction
    caller: Actor


def _erasures(subject_id: str) -> int:
    return Erasure.objects.filter(subject_hash__in=crypto.subject_hashes(subject_id)).count()


@dataclass(frozen=True, slots=True)
class _Checked:
    """The references that the new one was compared with, and whether a mismatch was overridden."""

    references: frozenset[uuid.UUID]
    overridden: bool


def _check_against_template(version: ServedVersion, new: _NewReference, override: bool) -> _Checked:
    references = frozenset(Reference.objects.filter(subject__subject_id=new.subject_id).values_list("pk", flat=True))
    try:
        template = selectors.template(new.subject_id, version.config)
    except ReferencesLost as lost:
        if override:
            return _Checked(references, True)
        raise ReferenceMismatch(str(lost)) from lost
    if template is None:
        return _Checked(references, False)
    if not override:
        lockout.require_free(template.lock_left)
    decision = version.rule.judge(template.embeddings, by_member([new.extraction]), new.extraction.quality.score)
    mismatch = decision.decision != "match"
    if mismatch and not override:
        # or enrolling would be a way to try faces without end
        lockout.settle(template.subject, new.subject_id, decision.decision)
        raise ReferenceMismatch
    return _Checked(references, mismatch)


def write(new: _NewReference, checked: _Checked, features: dict[str, Feature]) -> Reference | None:
    """Write the reference; None when the subject's references are no longer the ones it was compared with."""
    if new.known is None:
        Subject.objects.get_or_create(subject_id=new.subject_id)
    # NO KEY: two enrolments wait for each other, an embedding task's KEY SHARE does not wait for either
    subject = Subject.objects.select_for_update(no_key=True).filter(subject_id=new.subject_id).first()
    gone = subject is None or (new.known and subject.pk != new.known)
    # the tombstone tells of a subject that came, and went, since we began
    if subject is None or gone or _erasures(new.subject_id) != new.erasures:
        raise NotFound("The subject was erased while the picture was processed.")
    existing = frozenset(subject.references.values_list("pk", flat=True))
    if not existing <= checked.references:
        return None
    if len(existing) >= conf.get("MAX_REFERENCES"):
        raise InvalidRequest(f"The subject has {len(existing)} references; delete one before adding another.")
    pk = uuid.uuid4()
    reference = Reference.objects.create(
        pk=pk,
        subject=subject,
        chip=crypto.seal_chip(pk, subject.pk, encode_chip(new.extraction.chip)),
        quality=new.extraction.quality.to_json(),
        overridden=checked.overridden,
        enrolled_by_id=actor_id(new.caller),
    )
    Embedding.objects.bulk_create(sealed(pk, space, feature) for space, feature in features.items())
    return reference
