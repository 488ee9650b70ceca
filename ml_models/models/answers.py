"""What was answered to a request with an Idempotency-Key, for when the answer was lost on its way."""

from __future__ import annotations

import uuid

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models.functions import Now


class KeptAnswer(models.Model):
    """A request that is being answered (`answer` is null), or its final answer. What was asked, by whom and about whom
    is in keyed hashes alone. Past `expires_at` a row says nothing."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    key_hash = models.CharField(max_length=64, unique=True, help_text="Of caller, call and the key they sent.")
    body_hash = models.CharField(max_length=64, help_text="Of the same and the body.")
    subject_hash = models.CharField(max_length=64, db_index=True, help_text="Of the host's id, for its erasure.")
    answer = models.JSONField(
        null=True, encoder=DjangoJSONEncoder, help_text="Ids, decision, quality, or a problem: no score, no host's id."
    )
    at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return str(self.id)
