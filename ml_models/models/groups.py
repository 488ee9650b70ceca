"""Rosters: which subjects the host searches together."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from .enrolment import Subject


class Group(models.Model):
    """A roster, under the host's opaque id: the children of one bus, say."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    group_id = models.CharField(max_length=200, unique=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        permissions = [
            ("read_group", "Can read any group's members"),
            ("write_group", "Can change any group's members"),
            ("erase_group", "Can delete any group"),
            ("identify_group", "Can identify on any group"),
            ("enroll_group", "Can have any group searched for the face that is enrolled"),
            ("find_duplicates", "Can have any group searched for one face under two names"),
        ]
        constraints = [models.CheckConstraint(condition=~Q(group_id=""), name="group_has_an_id")]

    def __str__(self) -> str:
        return str(self.id)


class Membership(models.Model):
    """A subject's place on a roster. By the host's id, since a roster is kept before everybody on it is enrolled."""

    # the unique constraint's index begins with it
    group = models.ForeignKey(Group, on_delete=models.CASCADE, related_name="memberships", db_index=False)
    subject_id = models.CharField(max_length=200)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["group", "subject_id"], name="one_membership_a_group")]
        indexes = [models.Index(fields=["subject_id"], name="membership_subject_id")]

    def __str__(self) -> str:
        return str(self.pk)


class DuplicateSearch(models.Model):
    """Who may be in a group twice: its last search, asked for in the panel and made by a worker."""

    group = models.OneToOneField(Group, on_delete=models.CASCADE, primary_key=True, related_name="duplicate_search")
    asked_at = models.DateTimeField(db_default=Now())
    begun_at = models.DateTimeField(null=True, help_text="When a worker took it, the last time.")
    asked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+", db_index=False
    )
    done_at = models.DateTimeField(null=True)
    code = models.CharField(max_length=50, blank=True, default="", help_text="Why it failed; empty where it did not.")
    compared = models.PositiveIntegerField(default=0)
    not_enrolled = models.PositiveIntegerField(default=0)
    not_embedded = models.PositiveIntegerField(default=0)
    unusable = models.PositiveIntegerField(default=0, help_text="Members whose references are too poor to search with.")

    def __str__(self) -> str:
        return str(self.pk)


class DuplicatePair(models.Model):
    """Two members who may be one person; goes with either of them."""

    search = models.ForeignKey(DuplicateSearch, on_delete=models.CASCADE, related_name="pairs")
    first = models.ForeignKey(Subject, on_delete=models.CASCADE, related_name="+")
    second = models.ForeignKey(Subject, on_delete=models.CASCADE, related_name="+")
    match = models.BooleanField(help_text="Over the threshold to be named; else in doubt.")

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return str(self.pk)
