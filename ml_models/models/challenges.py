"""What was asked of somebody to show that they are there; gone an hour after it is too late for an answer."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models.functions import Now


class Challenge(models.Model):
    """Steps that one attempt has to show, once. Whose attempt and about whom is in `binding` alone: nobody can read it
    there, and only with the nonce can it be made again."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    binding = models.CharField(
        max_length=64, help_text="Keyed hash of caller, purpose and claim; the key is the nonce."
    )
    steps = models.JSONField()
    at = models.DateTimeField(db_default=Now(), editable=False, db_index=True)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)
    used_by = models.CharField(
        max_length=64,
        blank=True,
        default="",
        db_default="",
        help_text="The one request that may answer again: its hash.",
    )

    def __str__(self) -> str:
        return str(self.id)
