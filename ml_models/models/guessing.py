"""How often a credential tried, and failed: what tells a guesser from a bad day."""

from __future__ import annotations

from django.db import models

from .enrolment import Subject


class PairCount(models.Model):
    """What one credential has failed on one subject; see `services.lockout`."""

    # the unique constraint's index begins with it
    subject = models.ForeignKey(Subject, on_delete=models.CASCADE, related_name="pair_counts", db_index=False)
    credential = models.CharField(max_length=64)
    failures = models.IntegerField(default=0, help_text="In halves: a no_match is two, a review one.")
    failed_at = models.DateTimeField(null=True)
    slow_s = models.FloatField(default=0, help_text="How long the credential was slowed for this subject, last.")
    slowed_until = models.DateTimeField(null=True)
    counted_at = models.DateTimeField(null=True, help_text="When it last counted as a visit.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["subject", "credential"], name="one_count_a_pair")]

    def __str__(self) -> str:
        return str(self.pk)


class CredentialCount(models.Model):
    """What one credential has tried and failed over distinct subjects, half of it forgotten each day."""

    credential = models.CharField(max_length=64, primary_key=True)
    visits = models.FloatField(default=0, help_text="Distinct subjects, each at most once a day.")
    failures = models.FloatField(default=0, help_text="Those of them with a no_match; a review counts half.")
    counted_at = models.DateTimeField(null=True)
    slow_s = models.FloatField(default=0, help_text="How long the credential was slowed, last.")
    slowed_until = models.DateTimeField(null=True)

    class Meta:
        verbose_name = "credential"
        permissions = [("release_credential", "Can lift the slowing of a credential")]

    def __str__(self) -> str:
        return self.credential
