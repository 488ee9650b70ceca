"""What a host can listen to. Sent after the commit; no picture, vector or score goes with them.

A receiver that raises is logged by Django and changes no answer.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from django.db import transaction
from django.dispatch import Signal

# with verification_id: UUID, subject_id: str, decision: "match", "review" or "no_match", and config_version: int
verification_decided = Signal()
# with identification_id: UUID, subject_id: str for a "match" and None otherwise, decision, and config_version
identification_decided = Signal()
# with subject_id: str, and references: how many went
subject_erased = Signal()
# with rollout_id: UUID, version: int, state: "complete", "aborted" or "failed", and left_behind: how many people the
# version that went live cannot verify, because none of their references could be embedded
rollout_finished = Signal()
# with subject_id: str, and seconds: how long nobody can be verified as this subject
subject_locked_out = Signal()
# with subject_id: str: a person has lifted the lock before its time
subject_released = Signal()
# with credential_id: str, visits and failures: of distinct subjects, half of them forgotten each day, and seconds: how
# long it is slowed. It fails far more people than honest ones fail: stolen, or its camera is bad. Look, and revoke it
credential_suspected = Signal()
# with subject_id: str, reference_id: UUID, and reason: "mismatch", "erased" or "lost": a reference was written that was
# not matched to the subject's earlier ones, because a caller who may has overridden it
reference_overridden = Signal()

# with sequence and digest: the audit chain's end. Kept elsewhere, it shows a cut tail; see `audit verify --head`
audit_chained = Signal()


def after_commit(signal: Signal, **facts: Any) -> None:
    """Send after the transaction commits; at once where none is open."""
    transaction.on_commit(partial(signal.send_robust, sender=None, **facts), robust=True)
