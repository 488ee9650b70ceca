"""The audit trail: what was done, and the chain that shows whether it is still all there."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class AuditKey(models.Model):
    """A random key of the chain, encrypted under the keyset: it outlives the keyset's own keys, as `rotate_keys`
    encrypts it again. Each primary key of the keyset begins a new one."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    primary = models.CharField(max_length=64, unique=True, help_text="The primary key of the keyset when it was made.")
    sealed = models.BinaryField()

    def __str__(self) -> str:
        return str(self.id)


class AuditEvent(models.Model):
    """One event. Written once and without a place in the chain, which one job fills in later; never changed.

    The database refuses any other change, and to delete what no checkpoint covers (migration 0021).
    """

    class Kind(models.TextChoices):
        ENROLL = "enroll"
        OVERRIDE = "override"
        VERIFY = "verify"
        ERASE_SUBJECT = "erase_subject"
        ERASE_REFERENCE = "erase_reference"
        RELEASE = "release"
        IDENTIFY = "identify"
        EXEMPT = "exempt"
        WRITE_GROUP = "write_group"
        ERASE_GROUP = "erase_group"
        ROTATE_KEYS = "rotate_keys"
        OPEN_ROLLOUT = "open_rollout"
        ACTIVATE = "activate"
        # the host's, which writes them itself
        MAKE_KEY = "make_key"
        REVOKE_KEY = "revoke_key"
        DELETE_KEY = "delete_key"
        # of accounts and roles, see `services.rights`
        MAKE_ACCOUNT = "make_account"
        CHANGE_ACCOUNT = "change_account"
        DELETE_ACCOUNT = "delete_account"
        GIVE_RIGHTS = "give_rights"
        TAKE_RIGHTS = "take_rights"
        RENAME_ROLE = "rename_role"
        DELETE_ROLE = "delete_role"

    # given out by the database in the order of writing, which is not the order of commits
    id = models.BigAutoField(primary_key=True)
    at = models.DateTimeField(db_default=Now(), editable=False)
    kind = models.CharField(max_length=20, choices=Kind)
    code = models.CharField(max_length=50, blank=True, default="", help_text="The decision, or why it was refused.")
    # text, because a foreign key would change with the account's row, and an event never changes
    caller = models.CharField(max_length=64, blank=True, default="", help_text="The account's primary key.")
    credential_id = models.CharField(max_length=64, blank=True, default="")
    capture_point = models.CharField(max_length=50, blank=True, default="")
    subject = models.CharField(max_length=64, blank=True, default="", help_text="The subject's pseudonym.")
    facts = models.JSONField(default=dict, help_text="Ids and versions; never a score, a vector or a host's id.")
    sequence = models.BigIntegerField(null=True, unique=True, help_text="Its place in the chain.")
    digest = models.CharField(max_length=64, default="", help_text="Keyed hash of the event and all before it.")
    key = models.ForeignKey(AuditKey, null=True, on_delete=models.PROTECT, related_name="+", db_index=False)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(sequence=None, digest="", key=None)
                | Q(sequence__isnull=False, key__isnull=False) & ~Q(digest=""),
                name="chained_as_a_whole",
            )
        ]
        indexes = [
            models.Index(fields=["id"], condition=Q(sequence=None), name="audit_unchained"),
            models.Index(fields=["subject", "id"], condition=~Q(subject=""), name="audit_of_a_subject"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.code}".strip().replace("_", " ")


class AuditCheckpoint(models.Model):
    """What retention leaves of the events it deletes: where the chain stood after the last of them, signed."""

    sequence = models.BigIntegerField(unique=True, help_text="The last event that was deleted.")
    digest = models.CharField(max_length=64, help_text="That event's; the next one's builds on it.")
    count = models.BigIntegerField(help_text="How many events were deleted since the checkpoint before.")
    at = models.DateTimeField(help_text="When the last of them happened.")
    key = models.ForeignKey(AuditKey, on_delete=models.PROTECT, related_name="+", db_index=False)
    signature = models.CharField(max_length=64, help_text="Keyed hash of all that.")

    class Meta:
        ordering = ["sequence"]

    def __str__(self) -> str:
        return str(self.sequence)
