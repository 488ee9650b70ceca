"""Who is enrolled, with what, and who was erased."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class Subject(models.Model):
    """Whoever is enrolled, under the host's opaque id."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    subject_id = models.CharField(max_length=200, unique=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    audit_key = models.BinaryField(
        null=True, help_text="Random; makes the pseudonym in audit events, and goes with the row."
    )
    failures = models.PositiveSmallIntegerField(
        default=0, help_text="In halves: a no_match is two, a review one; see `services.lockout`."
    )
    failed_at = models.DateTimeField(null=True, blank=True)
    locked_until = models.DateTimeField(null=True, blank=True)
    cannot_turn = models.BooleanField(
        default=False,
        db_default=False,
        help_text="Cannot turn the head: challenges ask for none, and somebody on the spot decides.",
    )
    lock_s = models.FloatField(default=0, db_default=0.0, help_text="How long it was locked, last.")

    class Meta:
        permissions = [
            ("enroll_subject", "Can enroll any subject"),
            ("verify_subject", "Can verify any subject"),
            ("identify_subject", "Can identify among any subjects"),
            ("read_subject", "Can read any subject's enrolment"),
            ("erase_subject", "Can erase any subject"),
            ("release_subject", "Can lift the lock of any subject"),
            ("exempt_subject", "Can say that a subject cannot turn the head"),
        ]
        constraints = [models.CheckConstraint(condition=~Q(subject_id=""), name="subject_has_an_id")]
        indexes = [
            models.Index(fields=["created_at"], name="subject_created_at"),
            models.Index(fields=["locked_until"], condition=Q(locked_until__isnull=False), name="subject_locked_until"),
        ]

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
    captured_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["captured_at", "pk"]
        indexes = [models.Index(fields=["captured_at"], name="reference_captured_at")]
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
    """A tombstone: that somebody, or one reference, was erased, when, by whom; never who."""

    subject_hash = models.CharField(
        max_length=64, blank=True, db_index=True, help_text="keyed hash of subject_id; empty where one reference went"
    )
    reference_hash = models.CharField(
        max_length=64, blank=True, default="", db_default="", help_text="keyed hash of the id of the one that went"
    )
    references = models.PositiveIntegerField()
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        indexes = [models.Index(fields=["at"], name="erasure_at")]

    def __str__(self) -> str:
        return f"{(self.subject_hash or self.reference_hash)[:8]} {self.at:%Y-%m-%d}"
