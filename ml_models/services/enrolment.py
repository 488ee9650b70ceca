"""A further reference for a subject: compared with the ones there are, embedded for every served version, written.

Only the active version's networks are needed for it. What another version needs and this process cannot make is owed: a
missing row, which the workers find and fill (`rollouts.backfill`).
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta

from django.db import DatabaseError, transaction
from django.db.models.functions import Now

from .. import conf, crypto, runtime, selectors, signals, tracing
from ..engine.align import encode_chip
from ..engine.compare import by_member
from ..engine.conditions import CONDITIONS, EYES_COVERED
from ..engine.errors import ArtifactRejected, InferenceFailed, LowQuality, Reason
from ..engine.fuse import Condition, discriminants
from ..engine.types import Extraction, Feature, Quality
from ..exceptions import (
    ConfigChanged,
    DuplicateFace,
    NotFound,
    NotReady,
    Overloaded,
    ReferenceLimit,
    ReferenceMismatch,
    ReferencesLost,
)
from ..models import Embedding, EnsembleConfig, Reference, Subject, actor_id
from ..runtime import ServedVersion
from ..versions import locks
from . import admission, audit, liveness, lockout, mixups, repeated_pictures, subject_ids
from .attempts import steps_ms
from .callers import Caller
from .challenges import Answer
from .embeddings import embed_chip, sealed
from .erasure import erasures
from .liveness import Live

logger = logging.getLogger(__name__)

# A version change and another enrolment of the same subject may both come between; more is a storm.
MAX_TRIES = 5
_ERASED = (
    "This subject's references were erased, and there is nothing to compare the face with. Enroll it only if you are "
    "sure who it is: a caller with the right to override may repeat the request with override=true."
)


@dataclass(frozen=True, slots=True)
class Enrolled:
    reference: Reference
    config: EnsembleConfig
    quality: Quality
    warnings: list[str]
    live: Live


def enroll(
    caller: Caller,
    subject_id: str,
    image: bytes | Sequence[bytes],
    override: bool = False,
    answer: Answer | None = None,
    group_id: str | None = None,
) -> Enrolled:
    """Add a reference to a subject, who begins to exist with the first one.

    Args:
        caller: kept with the reference.
        subject_id: the host's id.
        image: one picture. With a challenge one of each step, in their order; the first front one becomes the
            reference.
        override: enroll although the face does not match the template, or its eyes are covered; the caller's right
            to it is the view's matter. A picture that is there already stays refused: there is nothing to override.
        answer: the challenge that the pictures answer.
        group_id: the host's id of a group in which nobody else may have this face.

    Raises:
        ImageError: the picture is refused.
        ReferenceMismatch: the subject has references and this face does not match them; or it had some, which were
            erased lately.
        DuplicateReference: the picture is among them.
        DuplicateFace: another member of the group has this face.
        LockedOut: too many faces that were not the subject's were shown, this one perhaps the last.
        InvalidRequest: the id breaks the rule.
        ReferenceLimit: the subject has as many references as it may have.
        NotFound: the subject was erased meanwhile; or there is no such group.
        Slowed, SearchedTooMuch: see `mixups.begin`.
        NotLive, ChallengeUsed, ChallengeExpired, NotFound: see `liveness`.
        NotReady
        Overloaded: it would have waited too long for a core.
    """
    try:
        images = [image] if isinstance(image, bytes) else image
        with tracing.span("enroll"):
            return _enroll(caller, subject_id, images, override, answer, group_id)
    except (DatabaseError, Overloaded):  # nor would the event be written; nobody looked at the picture
        raise
    except Exception as error:
        kind = audit.Kind.OVERRIDE if override else audit.Kind.ENROLL
        facts = error.facts if isinstance(error, DuplicateFace) else {}
        audit.record(kind, caller, audit.named_by_id(subject_id), audit.code_of(error), **facts)
        raise


def _enroll(
    caller: Caller,
    subject_id: str,
    images: Sequence[bytes],
    override: bool,
    answer: Answer | None,
    group_id: str | None,
) -> Enrolled:
    subject_ids.require(subject_id)
    version = runtime.active()
    config = version.config
    known = Subject.objects.filter(subject_id=subject_id).first()
    erasures = _erasures(subject_id)
    group = None if group_id is None else mixups.begin(caller, version, group_id, subject_id)
    # what was refused for its eyes is overridden like what the embeddings tell of them
    limits = replace(version.enroll_limits, min_eyes_visible=0.0) if override else version.enroll_limits
    with tracing.span("enroll.pictures"), admission.admitted(admission.ENROLL) as lanes:
        live = liveness.begin(caller, "enroll", subject_id, answer, len(images))
        if live.steps:
            shown = live.extract(version, images, lanes, limits)
        else:
            shown = [version.pipeline.extract(images[0], limits, True, lanes, live.looks)]
        live.examine(caller, version, shown)
        tracing.note_steps(steps_ms(shown))
    extraction = live.front(shown)[0]
    condition = version.rule.condition_of(by_member([extraction]))
    covered = _refusing(version, extraction)
    if covered and not override:
        raise LowQuality([Reason(covered, CONDITIONS[covered].advice)])
    new = _NewReference(
        subject_id, known.pk if known else None, erasures, extraction, covered, caller, live, shown, group
    )
    features: dict[str, Feature] = {m.space: extraction.feature(m.artifact.name) for m in config.members.all()}
    owed: set[str] = set()
    for _ in range(MAX_TRIES):
        with tracing.span("enroll.check"):
            checked = _check(version, new, override)
        with tracing.span("enroll.write"), transaction.atomic():
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
                with admission.admitted(admission.ENROLL):
                    features[space] = embed_chip(extraction.chip, member, flip)
            except (NotReady, InferenceFailed, Overloaded):
                if space in must:
                    raise
                owed.add(space)
    else:
        raise ConfigChanged("The subject or the served versions changed while the picture was processed. Try again.")
    if checked.reason:
        facts = {"subject_id": subject_id, "reference_id": reference.pk, "reason": checked.reason}
        signals.after_commit(signals.reference_overridden, **facts)
    tracing.note(config_version=config.version, frames=len(images))
    logger.info("enrolled reference %s", reference.pk)
    return Enrolled(reference, config, extraction.quality, _warnings(checked, condition), live)


def _refusing(version: ServedVersion, extraction: Extraction) -> str:
    """The condition that the face is in and that refuses references, "" when none: by what a network for eyes says, or
    by the embeddings where there is none."""
    visible = extraction.quality.eyes_visible
    if visible is not None:
        return EYES_COVERED.name if visible < version.enroll_limits.min_eyes_visible else ""
    shown = discriminants(by_member([extraction]), version.rule.conditions)
    return next((name for name in shown if CONDITIONS[name].refused), "")


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
    covered: str
    caller: Caller
    live: Live
    shown: list[Extraction]
    others: mixups.Others | None


def _erasures(subject_id: str) -> int:
    return erasures(subject_id).count()


def _erased_lately(subject_id: str) -> bool:
    """Whether the subject had references and has none: erasing and enrolling would be a way around the match."""
    # a subject comes with its first reference: one without any had some; one that has any came since it was read
    if Subject.objects.filter(subject_id=subject_id, references__isnull=True).exists():
        return True
    window = timedelta(days=conf.get("REENROL_WINDOW_DAYS"))
    return erasures(subject_id).filter(at__gt=Now() - window).exists()


@dataclass(frozen=True, slots=True)
class _Checked:
    """The references that the new one was compared with; why it was not, or did not match, where that was overridden;
    whether it is nearly one of them; the condition that was overridden; and what came of the search in the group, if
    one was named."""

    references: frozenset[uuid.UUID]
    overridden: str = ""
    adds_nothing: bool = False
    covered: str = ""
    searched: mixups.Searched | None = None

    @property
    def reason(self) -> str:
        """All that was overridden; empty where nothing was."""
        same_face = "duplicate_face" if self.searched and self.searched.same else ""
        return "+".join(filter(None, [self.overridden, self.covered, same_face]))


def _check(version: ServedVersion, new: _NewReference, override: bool) -> _Checked:
    checked = replace(_check_against_template(version, new, override), covered=new.covered)
    if new.others is None:
        return checked
    searched = new.others.search(version, by_member([new.extraction]), new.extraction.quality.score)
    if searched.same and not override:
        raise DuplicateFace(searched.same.subject_id, mixups.facts(new.others, searched))
    return replace(checked, searched=searched)


def _check_against_template(version: ServedVersion, new: _NewReference, override: bool) -> _Checked:
    references = frozenset(Reference.objects.filter(subject__subject_id=new.subject_id).values_list("pk", flat=True))
    try:
        template = selectors.template(new.subject_id, version.config, new.caller.credential_id)
    except ReferencesLost as lost:
        if override:
            return _Checked(references, "lost")
        raise ReferenceMismatch(str(lost)) from lost
    if template is None and not _erased_lately(new.subject_id):
        return _Checked(references)
    if template is None:
        if override:
            return _Checked(references, "erased")
        raise ReferenceMismatch(_ERASED)
    if not override:
        lockout.require_free(template.lock_left, template.slow_left)
    probe = by_member([new.extraction])
    # before the comparison: a picture that was enrolled once as an exception is a duplicate, not a stranger
    adds_nothing = repeated_pictures.refuse(template, probe)
    decision = version.rule.judge(template.embeddings, probe, new.extraction.quality.score)
    mismatch = decision.decision != "match"
    if mismatch and not override:
        # or enrolling would be a way to try faces without end
        lockout.settle(new.caller, template.subject, new.subject_id, decision.decision)
        raise ReferenceMismatch
    if not mismatch:
        new.live.require_subject(new.caller, version, new.shown, template.embeddings)
    return _Checked(references, "mismatch" if mismatch else "", adds_nothing)


def _warnings(checked: _Checked, condition: Condition | None) -> list[str]:
    warnings = ["This face was not matched to the subject's earlier references."] if checked.overridden else []
    if checked.searched:
        warnings += checked.searched.warnings
    if checked.adds_nothing:
        warnings.append(repeated_pictures.WARNING)
    name = checked.covered or (condition.name if condition else "")
    if name and CONDITIONS[name].warning:
        warnings.append(CONDITIONS[name].warning)
    return warnings


def _begin(subject_id: str) -> bool:
    """Whether the subject did not exist until now."""
    return Subject.objects.get_or_create(subject_id=subject_id, defaults={"audit_key": audit.new_key()})[1]


def write(new: _NewReference, checked: _Checked, features: dict[str, Feature]) -> Reference | None:
    """Write the reference; None when the subject's references are no longer the ones it was compared with."""
    # the group first, as whoever changes it does
    if new.others and checked.searched and not new.others.hold() <= checked.searched.references:
        return None
    created = new.known is None and _begin(new.subject_id)
    # NO KEY: two enrolments wait for each other, an embedding task's KEY SHARE does not wait for either
    subject = Subject.objects.select_for_update(no_key=True).filter(subject_id=new.subject_id).first()
    gone = subject is None or (new.known and subject.pk != new.known)
    # the tombstone tells of a subject that came, and went, since we began
    if subject is None or gone or _erasures(new.subject_id) != new.erasures:
        raise NotFound("The subject was erased while the picture was processed.")
    existing = frozenset(subject.references.values_list("pk", flat=True))
    emptied = not (existing or created or checked.overridden)  # its references were erased since they were read
    if emptied or not existing <= checked.references:
        return None
    if len(existing) >= conf.get("MAX_REFERENCES"):
        raise ReferenceLimit(len(existing))
    pk, owner = uuid.uuid4(), crypto.Owner(subject.pk, subject.subject_id)
    reference = Reference.objects.create(
        pk=pk,
        subject=subject,
        chip=crypto.seal_chip(pk, owner, encode_chip(new.extraction.chip)),
        quality=new.extraction.quality.to_json(),
        overridden=bool(checked.reason),
        enrolled_by_id=actor_id(new.caller.account),
    )
    Embedding.objects.bulk_create(sealed(pk, owner, space, feature) for space, feature in features.items())
    kind = audit.Kind.OVERRIDE if checked.reason else audit.Kind.ENROLL
    why = {"reason": checked.reason} if checked.reason else {}
    if new.others and checked.searched:
        why |= mixups.facts(new.others, checked.searched)
    audit.record(kind, new.caller, audit.named(subject), reference=str(pk), **why)
    return reference
