"""What is read from the database, and nothing else."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import numpy as np
from django.db.models import DurationField, ExpressionWrapper, F, FilteredRelation, Prefetch, Q, QuerySet
from django.db.models.functions import Now

from . import crypto
from .engine.calibrate import Affine, Calibration
from .engine.fuse import Centres, Condition, Fusion, Member, VoterSet
from .engine.quality import ENROLL_LIMITS, VERIFY_LIMITS, QualityLimits
from .engine.types import Embeddings, Feature
from .exceptions import ConfigInvalid, NotFound, NotReady, ReferencesLost
from .models import EnsembleConfig, EnsembleMember, Reference, RolloutFailure, Subject

State = EnsembleConfig.State


def configs() -> QuerySet[EnsembleConfig]:
    """Versions with their members and artifacts, in two queries."""
    members = EnsembleMember.objects.select_related("artifact")
    return EnsembleConfig.objects.select_related("detector").prefetch_related(Prefetch("members", members))


def active_config() -> EnsembleConfig:
    """The active version.

    Raises:
        NotReady: none is active yet.
    """
    # one query instead of two: every verify asks
    members = list(
        EnsembleMember.objects.select_related("artifact", "config__detector").filter(config__state=State.ACTIVE)
    )
    if not members:
        raise NotReady("No version is active. An operator activates one with activate_config.")
    config = members[0].config
    for member in members:
        member.config = config
    config._prefetched_objects_cache = {"members": members}  # type: ignore[attr-defined]
    return config


def served_configs() -> list[EnsembleConfig]:
    """The versions that processes keep loaded and enrolments embed for: active, rolling out, and warm ones."""
    warm = Q(state=State.RETIRED, warm_until__gt=Now())
    return list(configs().filter(Q(state__in=[State.ACTIVE, State.ROLLING_OUT]) | warm))


def members_by_space(served: list[EnsembleConfig]) -> dict[str, tuple[EnsembleMember, bool]]:
    """Every embedding space that is needed: a member that makes its vectors, and whether it flips."""
    return {member.space: (member, config.flip) for config in served for member in config.members.all()}


def fusion(config: EnsembleConfig) -> Fusion:
    """The version's decision rule.

    Raises:
        ConfigInvalid: a calibration or threshold is missing or not usable.
    """
    try:
        rows = config.members.all()
        members = tuple(
            Member(m.artifact.name, m.weight, Calibration(**(m.calibration or {})), m.quality_threshold) for m in rows
        )
        dimensions = {m.artifact.name: m.artifact.contract["dimension"] for m in rows}
        conditions = tuple(_condition(said, members, dimensions) for said in config.conditions)
        return Fusion(members, _voter_sets(config.voter_sets), conditions)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigInvalid([f"Version {config.version} is not calibrated: run calibrate. ({error})"]) from error


def _voter_sets(said: Mapping[str, Any]) -> dict[str, VoterSet]:
    return {
        key: VoterSet(Affine(rule["a"], rule["b"]), rule["threshold"], rule["review_threshold"], rule.get("trust", {}))
        for key, rule in said.items()
    }


def _condition(said: Mapping[str, Any], members: Sequence[Member], dimensions: Mapping[str, int]) -> Condition:
    def vector(name: str, text: str) -> tuple[float, ...]:
        numbers = np.frombuffer(base64.b64decode(text, validate=True), "<f2")
        if dimensions.get(name) != len(numbers):
            raise ValueError(f"{said['name']}: a vector of {name} has not the dimension of a member of that name")
        return tuple(numbers.tolist())

    if strangers := said["members"].keys() - {member.name for member in members}:
        raise ValueError(f"{said['name']}: {', '.join(sorted(strangers))} is none of the version's members")
    own = tuple(
        replace(member, calibration=Calibration(**said["members"][member.name]))
        for member in members
        if member.name in said["members"]
    )
    return Condition(
        said["name"],
        {name: vector(name, text) for name, text in said["directions"].items()},
        said["offset"],
        {
            name: Centres(vector(name, sides["probes"]), vector(name, sides["references"]))
            for name, sides in said["centres"].items()
        },
        Fusion(own, _voter_sets(said["voter_sets"])),
    )


def quality_limits(config: EnsembleConfig, step: str) -> QualityLimits:
    """The version's limits for `verify` or `enroll`: the defaults, changed where the version says so."""
    defaults = VERIFY_LIMITS if step == "verify" else ENROLL_LIMITS
    return QualityLimits.from_json({**defaults.to_json(), **config.quality_limits.get(step, {})})


@dataclass(frozen=True, slots=True)
class Template:
    """A subject's embeddings under one version: by member name, references in one order."""

    subject: UUID
    references: tuple[UUID, ...]
    embeddings: dict[str, Embeddings]
    lock_left: timedelta | None = None
    """How much longer the subject is locked out; None or not positive when it is not."""


def template(subject_id: str, config: EnsembleConfig) -> Template | None:
    """A subject's template, or None when it has no reference; one query.

    Raises:
        NotReady: it has references, but none has a vector of every member yet.
        ReferencesLost: nor ever will: the version's rollout failed on each of them.
        CryptoError: a ciphertext does not open.
    """
    names = {member.space: member.artifact.name for member in config.members.all()}
    # one query, so that an enrolment committed meanwhile is seen whole or not at all
    rows = (
        Reference.objects.filter(subject__subject_id=subject_id)
        .annotate(needed=FilteredRelation("embeddings", condition=Q(embeddings__space__in=list(names))))
        .annotate(lock_left=ExpressionWrapper(F("subject__locked_until") - Now(), DurationField()))
        .order_by("captured_at", "pk")
        .values_list("pk", "needed__id", "needed__space", "needed__vector", "subject_id", "lock_left")
    )
    by_reference: dict[UUID, dict[str, Feature]] = {}
    subject: UUID | None = None
    lock_left: timedelta | None = None
    for reference, pk, space, data, owner, left in rows:
        features = by_reference.setdefault(reference, {})
        if pk is not None:
            opened = crypto.open_vector(pk, reference, space, bytes(data))
            features[space] = np.frombuffer(opened, "<f4").astype(np.float32)
        subject, lock_left = owner, left
    if subject is None:
        return None
    complete = {ref: features for ref, features in by_reference.items() if len(features) == len(names)}
    if not complete:
        failed = RolloutFailure.objects.filter(rollout__config=config, reference__in=by_reference)
        if by_reference.keys() <= set(failed.values_list("reference", flat=True)):
            raise ReferencesLost
        raise NotReady("The subject's references are not embedded for the active version yet.")
    together = {name: Embeddings.of_features([f[space] for f in complete.values()]) for space, name in names.items()}
    return Template(subject, tuple(complete), together, lock_left)


def subject(subject_id: str) -> Subject:
    """An enrolled subject with its references.

    Raises:
        NotFound
    """
    found = Subject.objects.prefetch_related("references").filter(subject_id=subject_id).first()
    if found is None:
        raise NotFound("There is no such subject.")
    return found


def subject_id_of(reference: UUID) -> str | None:
    """Whose reference it is, by the host's id; None when there is no such reference."""
    return Reference.objects.filter(pk=reference).values_list("subject__subject_id", flat=True).first()
