"""Time that passes for the counts of the lock-out, without anybody waiting."""

from datetime import timedelta

from django.db.models import F

from ml_models.models import CredentialCount, PairCount, Subject

_MOMENTS = {
    Subject: ("failed_at", "locked_until"),
    PairCount: ("failed_at", "slowed_until", "counted_at"),
    CredentialCount: ("counted_at", "slowed_until"),
}


def pass_(**time: float) -> None:
    """Let so many `days` or `seconds` pass: every moment that the counts remember is so much longer ago."""
    for model, names in _MOMENTS.items():
        model._default_manager.update(**{name: F(name) - timedelta(**time) for name in names})
