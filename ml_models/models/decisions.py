"""What was asked and answered."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q, Value
from django.db.models.functions import Now

from .enrolment import Subject
from .versions import EnsembleConfig


class Verification(models.Model):
    """The audit row of one verify: what was asked and answered; never an image or a vector. Which files answered is the
    matter of `config`, which cannot change."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    at = models.DateTimeField(auto_now_add=True, db_index=True)
    caller = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    credential_id = models.CharField(max_length=64, blank=True, default="", db_default="")
    capture_point = models.CharField(max_length=50, blank=True, default="", db_default="")
    subject = models.ForeignKey(Subject, null=True, on_delete=models.SET_NULL, related_name="verifications")
    config = models.ForeignKey(
        EnsembleConfig, verbose_name="version", null=True, on_delete=models.PROTECT, related_name="verifications"
    )
    decision = models.CharField(max_length=20, blank=True)
    code = models.CharField(max_length=50, blank=True, help_text="Why there was no decision.")
    score = models.FloatField(null=True)
    threshold = models.FloatField(null=True)
    condition = models.CharField(
        max_length=20, blank=True, default="", db_default="", help_text="Whose rule decided; empty for the plain one."
    )
    voters = models.JSONField(default=list)
    similarities = models.JSONField(default=dict)
    quality = models.JSONField(default=dict)
    references = models.PositiveSmallIntegerField(default=0)
    frames = models.PositiveSmallIntegerField(default=0)
    frames_dropped = models.JSONField(default=list)
    timings_ms = models.JSONField(default=dict)
    liveness = models.JSONField(
        default=dict,
        db_default=Value({}, models.JSONField()),
        help_text="live, reasons' codes, steps, the attack detector's score; empty where nobody looked.",
    )

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


class Identification(models.Model):
    """The audit row of one search on a roster: what was asked and answered; never an image or a vector. Who was on the
    roster is told by a keyed digest alone."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    at = models.DateTimeField(db_default=Now(), editable=False)
    caller = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    credential_id = models.CharField(max_length=64, blank=True)
    capture_point = models.CharField(max_length=50, blank=True)
    group = models.UUIDField(null=True, help_text="The group's key, as in audit events; empty for a list of subjects.")
    roster_digest = models.CharField(max_length=64, help_text="Keyed hash of the subject ids asked for.")
    roster_size = models.PositiveSmallIntegerField()
    candidates = models.PositiveSmallIntegerField(help_text="Of them searched; the others have no usable reference.")
    subject = models.ForeignKey(
        Subject, null=True, on_delete=models.SET_NULL, related_name="identifications", help_text="Who was named."
    )
    config = models.ForeignKey(
        EnsembleConfig, verbose_name="version", null=True, on_delete=models.PROTECT, related_name="identifications"
    )
    decision = models.CharField(max_length=20, blank=True)
    code = models.CharField(max_length=50, blank=True, help_text="Why there was no decision.")
    score = models.FloatField(null=True, help_text="The best candidate's.")
    threshold = models.FloatField(null=True)
    margin = models.FloatField(null=True, help_text="How far the next candidate is behind.")
    condition = models.CharField(max_length=20, blank=True, help_text="Whose rule decided; empty for the plain one.")
    voters = models.JSONField(default=list)
    quality = models.JSONField(default=dict)
    frames = models.PositiveSmallIntegerField(default=0)
    frames_dropped = models.JSONField(default=list)
    timings_ms = models.JSONField(default=dict)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(code="", decision__in=["match", "review", "no_match"]) | (Q(decision="") & ~Q(code="")),
                name="an_identification_or_why_there_is_none",
            )
        ]
        indexes = [models.Index(fields=["at"], name="identification_at")]
        permissions = [("view_candidates", "Can see the candidates of an identification that is to be reviewed")]

    def __str__(self) -> str:
        return str(self.id)
