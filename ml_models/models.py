"""What the database keeps. Reads live in `selectors`, changes in `services` and `rollouts`."""

from __future__ import annotations

import uuid
from typing import Any, TypeAlias

import numpy as np
from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from numpy.typing import NDArray

from .engine.embed import space_id
from .engine.types import InputContract

Actor: TypeAlias = AbstractBaseUser | AnonymousUser | None
"""Who did something; None for a command or a task."""


def actor_id(actor: Actor) -> Any:
    """The actor's primary key for a foreign key, None for nobody."""
    return None if actor is None else actor.pk


class Artifact(models.Model):
    """A model file in the bucket with its contract. Identified by its sha256; the generation says where it lies."""

    class Kind(models.TextChoices):
        EMBEDDER = "embedder"
        DETECTOR = "detector"

    class CommercialUse(models.TextChoices):
        ALLOWED = "allowed"
        FORBIDDEN = "forbidden"
        UNKNOWN = "unknown"

    name = models.CharField(max_length=100, unique=True)
    kind = models.CharField(max_length=20, choices=Kind)
    family = models.CharField(max_length=50)
    uri = models.CharField(max_length=500, help_text="gs://bucket/object")
    generation = models.BigIntegerField(help_text="The object's generation in the bucket; pulls are pinned to it.")
    sha256 = models.CharField(max_length=64, unique=True)
    size = models.BigIntegerField(help_text="bytes")
    graph_sha256 = models.CharField(max_length=64, blank=True, help_text="sha256 of the graph without metadata_props")
    contract = models.JSONField()
    dimension = models.PositiveIntegerField(null=True, blank=True)
    weights_licence = models.CharField(max_length=200, blank=True)
    training_data = models.TextField(blank=True, help_text="The training set and its terms.")
    commercial_use = models.CharField(max_length=20, choices=CommercialUse, default=CommercialUse.UNKNOWN)
    citation = models.TextField(blank=True)
    golden = models.BinaryField(null=True, blank=True, help_text="float32, little-endian, (2, dimension)")
    golden_min_cosine = models.FloatField(default=0.999)
    seconds_per_face = models.FloatField(null=True, blank=True, help_text="One core's, measured at a validation.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(kind="detector") | Q(dimension__isnull=False, golden__isnull=False),
                name="embedder_has_dimension_and_golden",
            )
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def input_contract(self) -> InputContract:
        return InputContract.from_json(self.contract)

    @property
    def golden_vectors(self) -> NDArray[np.float32]:
        """float32 (2, dimension), unit length."""
        return np.frombuffer(bytes(self.golden or b""), "<f4").reshape(2, -1).astype(np.float32)


class EnsembleConfig(models.Model):
    """A version of the ensemble. Immutable once it leaves `draft`: clone it to change it."""

    class State(models.TextChoices):
        DRAFT = "draft"
        VALIDATED = "validated"
        ROLLING_OUT = "rolling_out"
        ACTIVE = "active"
        RETIRED = "retired"

    FROZEN = (
        "version",
        "detector_id",
        "flip",
        "target_fmr",
        "voter_sets",
        "conditions",
        "quality_limits",
        "calibrated_on",
    )

    version = models.PositiveIntegerField(unique=True)
    name = models.CharField(max_length=100)
    notes = models.TextField(blank=True)
    state = models.CharField(max_length=20, choices=State, default=State.DRAFT, db_index=True)
    detector = models.ForeignKey(Artifact, on_delete=models.PROTECT, related_name="+")
    flip = models.BooleanField(default=False, help_text="Average with the mirror image's embedding, at twice the cost.")
    target_fmr = models.FloatField(default=0.001, validators=[MinValueValidator(1e-9), MaxValueValidator(0.5)])
    voter_sets = models.JSONField(
        default=dict,
        blank=True,
        help_text="By voter set: a, b, threshold and review_threshold (natural-log LLR).",
    )
    conditions = models.JSONField(
        default=list,
        blank=True,
        help_text="For blurred or covered faces: what tells them, and what holds then; see engine.fuse.Condition.",
    )
    quality_limits = models.JSONField(
        default=dict, blank=True, help_text="verify and enroll: overrides of the defaults."
    )
    calibrated_on = models.JSONField(
        default=dict,
        blank=True,
        help_text="lists: names of the pair lists; subjects: hashes of whom they show, see evaluation.pairs.",
    )
    evaluation = models.ForeignKey(
        "EvaluationReport", null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    warm_until = models.DateTimeField(null=True, blank=True, help_text="Rollback waits for nothing until then.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-version"]
        verbose_name = "version"
        constraints = [
            models.UniqueConstraint(fields=["state"], condition=Q(state="active"), name="one_active_version"),
            models.UniqueConstraint(fields=["state"], condition=Q(state="rolling_out"), name="one_version_rolling_out"),
        ]
        permissions = [
            ("validate_config", "Can validate a version"),
            ("activate_config", "Can activate a version"),
            ("rollback_config", "Can roll back to the version before"),
            ("discard_config", "Can discard a validated version"),
        ]

    def __str__(self) -> str:
        return f"v{self.version} {self.name}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if self.pk:
            before = EnsembleConfig.objects.filter(pk=self.pk).exclude(state=self.State.DRAFT).first()
            if before and any(getattr(before, field) != getattr(self, field) for field in self.FROZEN):
                raise ValidationError(f"Version {before.version} is {before.state} and cannot change; clone it.")
        super().save(*args, **kwargs)


class EnsembleMember(models.Model):
    """An artifact's place in a version."""

    config = models.ForeignKey(EnsembleConfig, on_delete=models.CASCADE, related_name="members")
    artifact = models.ForeignKey(Artifact, on_delete=models.PROTECT, related_name="memberships")
    weight = models.FloatField(validators=[MinValueValidator(0.0), MaxValueValidator(1.0)])
    calibration = models.JSONField(null=True, blank=True, help_text="a and b: similarity → log-likelihood ratio")
    quality_threshold = models.FloatField(default=0.0, validators=[MinValueValidator(0.0), MaxValueValidator(1.0)])

    class Meta:
        ordering = ["artifact__name"]
        constraints = [
            models.UniqueConstraint(fields=["config", "artifact"], name="member_once_in_a_version"),
            models.CheckConstraint(condition=Q(weight__gte=0, weight__lte=1), name="weight_in_0_1"),
        ]

    def __str__(self) -> str:
        return f"{self.artifact.name} {self.weight:.0%}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        state = EnsembleConfig.objects.values_list("state", flat=True).get(pk=self.config_id)
        if state != EnsembleConfig.State.DRAFT:
            raise ValidationError(f"The version is {state} and cannot change; clone it.")
        super().save(*args, **kwargs)

    @property
    def space(self) -> str:
        """The embedding space of this member's vectors, sha256 hex."""
        return space_id(self.artifact.graph_sha256, self.artifact.input_contract, self.config.flip)


class ConfigStep(models.Model):
    """Who moved a version from one state to another, when, and why."""

    config = models.ForeignKey(EnsembleConfig, on_delete=models.CASCADE, related_name="steps")
    from_state = models.CharField(max_length=20, blank=True)
    to_state = models.CharField(max_length=20)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    reason = models.TextField(blank=True)
    overrides_evidence = models.BooleanField(default=False, help_text="A superuser answers for missing evidence.")
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["at", "pk"]

    def __str__(self) -> str:
        return f"{self.from_state or 'new'} → {self.to_state}"


class EvaluationReport(models.Model):
    """What `evaluate` measured, bound to the digest of what it measured."""

    config = models.ForeignKey(EnsembleConfig, on_delete=models.CASCADE, related_name="reports")
    digest = models.CharField(max_length=64, db_index=True, help_text="of what the version decided with")
    list_digest = models.CharField(max_length=64, blank=True, db_index=True, help_text="of what it was measured on")
    measured_on = models.JSONField(default=dict, help_text="lists by name, subjects as hashes, whom they show")
    data = models.JSONField()
    draws = models.JSONField(default=dict, help_text="the same people drawn for every version: for comparing two")
    html = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.digest[:12]} {self.created_at:%Y-%m-%d %H:%M}"


class Subject(models.Model):
    """Whoever is enrolled, under the host's opaque id."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    subject_id = models.CharField(max_length=200, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)
    failures = models.PositiveSmallIntegerField(default=0, help_text="`no_match` in a row; see `lockout`.")
    failed_at = models.DateTimeField(null=True, blank=True)
    locked_until = models.DateTimeField(null=True, blank=True)

    class Meta:
        permissions = [
            ("enroll_subject", "Can enroll any subject"),
            ("verify_subject", "Can verify any subject"),
            ("read_subject", "Can read any subject's enrolment"),
            ("erase_subject", "Can erase any subject"),
        ]
        constraints = [models.CheckConstraint(condition=~Q(subject_id=""), name="subject_has_an_id")]

    def __str__(self) -> str:
        return str(self.id)


class Reference(models.Model):
    """One enrolled face image: the encrypted chip with its landmarks. The key is made before encryption, so that
    the ciphertext's associated data can name its row."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    subject = models.ForeignKey(Subject, on_delete=models.CASCADE, related_name="references")
    chip = models.BinaryField()
    quality = models.JSONField()
    overridden = models.BooleanField(default=False, help_text="Enrolled although it did not match the template.")
    enrolled_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    captured_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["captured_at", "pk"]
        permissions = [("override_reference", "Can enroll a reference that does not match the template")]

    def __str__(self) -> str:
        return str(self.id)


class Embedding(models.Model):
    """One reference's feature in one embedding space, float32, little-endian, encrypted: its direction compares, its
    length tells how much of the face the network saw."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    # the unique constraint's index begins with it
    reference = models.ForeignKey(Reference, on_delete=models.CASCADE, related_name="embeddings", db_index=False)
    space = models.CharField(max_length=64)
    vector = models.BinaryField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["reference", "space"], name="one_embedding_a_space")]
        indexes = [models.Index(fields=["space", "reference"])]

    def __str__(self) -> str:
        return str(self.id)


class Erasure(models.Model):
    """A tombstone: that somebody was erased, when, by whom; never who."""

    subject_hash = models.CharField(max_length=64, db_index=True, help_text="keyed hash of subject_id")
    references = models.PositiveIntegerField()
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.subject_hash[:8]} {self.at:%Y-%m-%d}"


class Rollout(models.Model):
    """A version on its way to being active."""

    class State(models.TextChoices):
        EMBEDDING = "embedding"
        PAUSED = "paused"
        AWAITING_APPROVAL = "awaiting_approval"
        COMPLETE = "complete"
        ABORTED = "aborted"
        FAILED = "failed"

    OPEN = (State.EMBEDDING, State.PAUSED, State.AWAITING_APPROVAL)

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    config = models.ForeignKey(EnsembleConfig, on_delete=models.CASCADE, related_name="rollouts")
    state = models.CharField(max_length=20, choices=State, default=State.EMBEDDING, db_index=True)
    opened_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    opened_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    reason = models.TextField(blank=True, help_text="Why it stopped, or what it waits for.")
    hold_for_approval = models.BooleanField(default=False, help_text="Wait for an operator's Go before cutting over.")
    pairs = models.BigIntegerField(default=0, help_text="(reference, space) pairs that were missing at the start")
    cursor = models.UUIDField(null=True, blank=True, help_text="The last reference handed out.")
    seconds_per_reference = models.FloatField(null=True, blank=True, help_text="One worker's, lately.")
    refusals = models.PositiveIntegerField(
        default=0, help_text="Chunks in a row that a worker could not begin: it could not load the networks."
    )

    class Meta:
        ordering = ["-opened_at"]
        permissions = [("control_rollout", "Can pause, resume, abort and approve a rollout")]

    def __str__(self) -> str:
        return f"Rollout of {self.config}, {self.opened_at:%Y-%m-%d %H:%M}"


class RolloutChunk(models.Model):
    """References handed to a worker until `leased_until`; gone when they are done."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    rollout = models.ForeignKey(Rollout, on_delete=models.CASCADE, related_name="chunks")
    references = ArrayField(models.UUIDField())
    leased_until = models.DateTimeField()
    attempts = models.PositiveIntegerField(default=0, help_text="How often a worker has begun it.")

    def __str__(self) -> str:
        return str(self.id)


class RolloutFailure(models.Model):
    """A reference that could not be embedded; its subject is to be enrolled again."""

    rollout = models.ForeignKey(Rollout, on_delete=models.CASCADE, related_name="failures")
    reference = models.ForeignKey(Reference, on_delete=models.CASCADE, related_name="+")
    code = models.CharField(max_length=50)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["rollout", "reference"], name="one_failure_a_reference")]

    def __str__(self) -> str:
        return f"{self.reference_id}: {self.code}"


class ServingProcess(models.Model):
    """A web or worker process, as it reports itself; times are the database's."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)

    class Kind(models.TextChoices):
        WEB = "web"
        WORKER = "worker"

    kind = models.CharField(max_length=20, choices=Kind, default=Kind.WEB)
    host = models.CharField(max_length=200)
    pid = models.PositiveIntegerField()
    heartbeat_at = models.DateTimeField(db_index=True)
    started_at = models.DateTimeField()
    spaces = models.JSONField(default=list)
    artifacts = models.JSONField(default=list, help_text="sha256 of every model file loaded")
    problems = models.JSONField(default=dict, help_text="code by artifact name")

    class Meta:
        verbose_name_plural = "serving processes"

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}"


class Verification(models.Model):
    """The audit row of one verify: what was asked and answered; never an image or a vector."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    at = models.DateTimeField(auto_now_add=True, db_index=True)
    caller = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    subject = models.ForeignKey(Subject, null=True, on_delete=models.SET_NULL, related_name="verifications")
    config = models.ForeignKey(EnsembleConfig, null=True, on_delete=models.PROTECT, related_name="verifications")
    decision = models.CharField(max_length=20, blank=True)
    code = models.CharField(max_length=50, blank=True, help_text="Why there was no decision.")
    score = models.FloatField(null=True)
    threshold = models.FloatField(null=True)
    voters = models.JSONField(default=list)
    similarities = models.JSONField(default=dict)
    quality = models.JSONField(default=dict)
    references = models.PositiveSmallIntegerField(default=0)
    frames = models.PositiveSmallIntegerField(default=0)
    frames_dropped = models.JSONField(default=list)
    timings_ms = models.JSONField(default=dict)
    artifacts = models.JSONField(default=dict, help_text="sha256 by artifact name")

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(code="", decision__in=["match", "review", "no_match"]) | (Q(decision="") & ~Q(code="")),
                name="a_decision_or_why_there_is_none",
            )
        ]
        permissions = [("view_scores", "Can see scores, thresholds and similarities")]

    def __str__(self) -> str:
        return str(self.id)


class ShadowScore(models.Model):
    """What a version on its way would have answered to a live verify: a score, nothing else of it."""

    rollout = models.ForeignKey(Rollout, on_delete=models.CASCADE, related_name="shadows", db_index=False)
    verification = models.ForeignKey(Verification, on_delete=models.CASCADE, related_name="+")
    decision = models.CharField(max_length=20, blank=True)
    code = models.CharField(max_length=50, blank=True, help_text="Why there would have been no decision.")
    score = models.FloatField(null=True)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["rollout", "verification"], name="one_shadow_a_verification")]

    def __str__(self) -> str:
        return f"{self.verification_id}: {self.decision or self.code}"
