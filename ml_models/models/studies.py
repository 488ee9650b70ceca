"""Studies that the panel starts and a worker does: a version calibrated or evaluated on pictures that were sent up."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from .versions import EnsembleConfig, EvaluationReport


class StudyJob(models.Model):
    """One study. The pictures are there, encrypted, until it is over."""

    class Kind(models.TextChoices):
        CALIBRATE = "calibrate"
        EVALUATE = "evaluate"

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"

    OPEN = (State.QUEUED, State.RUNNING)

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    config = models.ForeignKey(EnsembleConfig, verbose_name="version", on_delete=models.CASCADE, related_name="studies")
    kind = models.CharField(max_length=20, choices=Kind)
    state = models.CharField(max_length=20, choices=State, default=State.QUEUED)
    people = models.TextField(blank=True, help_text="Whom the pictures show.")
    all_pairs = models.BooleanField(default=False, help_text="Every picture against every other.")
    stressed = models.BooleanField(default=False, help_text="Also under every stress.")
    archive = models.BinaryField(null=True, help_text="The list and its pictures, encrypted; gone when it is over.")
    progress = models.CharField(max_length=200, blank=True)
    reason = models.TextField(blank=True, help_text="Why it failed.")
    figures = models.JSONField(default=list, help_text="What a calibration came to, list by list.")
    report = models.ForeignKey(EvaluationReport, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    opened_at = models.DateTimeField(db_default=Now(), editable=False)
    seen_at = models.DateTimeField(null=True, blank=True, help_text="When its worker last showed that it lives.")
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-opened_at"]
        verbose_name = "study"
        verbose_name_plural = "studies"
        permissions = [("run_study", "Can calibrate and evaluate a version on pictures")]
        constraints = [
            models.UniqueConstraint(fields=["state"], condition=Q(state="running"), name="one_study_runs"),
            models.CheckConstraint(
                condition=Q(state__in=["queued", "running"]) | Q(archive=None), name="study_over_without_pictures"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.config}"
