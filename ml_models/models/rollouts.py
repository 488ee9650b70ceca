"""A version on its way to being active, and the processes that serve."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models

from .decisions import Verification
from .enrolment import Reference
from .versions import EnsembleConfig


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
    # people are enrolled while an operator thinks: only a pause stops the workers
    EMBEDS = (State.EMBEDDING, State.AWAITING_APPROVAL)

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    config = models.ForeignKey(
        EnsembleConfig, verbose_name="version", on_delete=models.CASCADE, related_name="rollouts"
    )
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
        return f"Rollout of {self.config}, {self.opened_at:%Y-%m-%d %H:%M} UTC"


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
    """A reference that could not be embedded. Once it is given up, its subject is to be enrolled again."""

    # what may pass, and how often a reference is tried for it
    PASSING = ("inference_failed",)
    MAX_TRIES = 3
    GIVEN_UP = ~models.Q(code__in=PASSING) | models.Q(tries__gte=MAX_TRIES)

    rollout = models.ForeignKey(Rollout, on_delete=models.CASCADE, related_name="failures")
    reference = models.ForeignKey(Reference, on_delete=models.CASCADE, related_name="+")
    code = models.CharField(max_length=50)
    tries = models.PositiveSmallIntegerField(default=1, help_text="How often it was tried.")
    at = models.DateTimeField(auto_now_add=True, help_text="The last try.")

    class Meta:
        verbose_name = "reference to enrol again"
        verbose_name_plural = "references to enrol again"
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
    engines = models.JSONField(
        default=dict,
        db_default=models.Value({}, models.JSONField()),
        help_text="what runs each network, by artifact name",
    )

    class Meta:
        verbose_name_plural = "serving processes"

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}"


class JobRun(models.Model):
    """When a job that beat starts was last done; the time is the database's."""

    name = models.CharField(max_length=50, primary_key=True)
    ran_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name


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
        indexes = [models.Index(fields=["at"], name="shadow_score_at")]

    def __str__(self) -> str:
        return f"{self.verification_id}: {self.decision or self.code}"
