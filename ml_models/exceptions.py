"""What can go wrong in the service; the engine has a tree of its own (`ml_models.engine.errors`).

ServiceError
├── NotAttested          not_attested        403  no token that the host's attestation accepts
├── NotEnrolled          not_enrolled        404
│   └── ReferencesLost   not_enrolled        404  the rollout could not embed any of its references
├── NotFound             not_found           404
├── ConfigChanged        config_changed      409  another version, or another operator, came between
├── ReferenceMismatch    reference_mismatch  409
├── DuplicateReference   duplicate_reference 409  names the reference that is there
├── DuplicateFace        duplicate_face      409  another member of the group has this face
├── ReferenceLimit       reference_limit     409  as many references as a subject may have
├── StillAnswering       idempotency_in_progress 409  the same request is being answered
├── IdempotencyConflict  idempotency_conflict 422  another request came with this key
├── RolloutRefused       rollout_refused     409
├── ChallengeExpired     challenge_expired   409  the answer came too late
├── ChallengeUsed        challenge_used      409  it was answered before
├── NotLive              not_live            422  nobody has shown to be there; `details` say why
│   ├── ChallengeRequired challenge_required 422  the policy asks for a challenge, and none was answered
│   ├── ChallengeFailed  challenge_failed    422  the frames do not show its steps, or not one person
│   └── SpoofSuspected   spoof_suspected     422  they seem to be of a picture or screen
├── InvalidRequest       invalid_request     400
├── LockedOut            locked_out          429  too many faces that were not the subject's
│   ├── Slowed           throttled           429  of this caller's credential; others may go on
│   └── SearchedTooMuch  throttled           429  it has searched too many candidates; the same
├── NotReady             not_ready           503  the networks of the version are not loaded here
├── Overloaded           overloaded          503  it would have waited too long for a core
├── ArtifactError
│   ├── ArtifactMissing  artifact_missing    the storage has no such object, or there is no bucket
│   ├── ArtifactCorrupt  artifact_corrupt    size or sha256 differ from the database
│   ├── BucketUnavailable bucket_unavailable 503  it refuses, cannot be reached, or credentials are missing
│   ├── ObjectExists     object_exists       409  no creation over an object; `publish` looks whose bytes it has
│   ├── CacheUnwritable  cache_unwritable    the local cache is full, or may not be written
│   └── NameTaken        name_taken          other bytes are published under this name
├── ConfigInvalid        config_invalid      an ensemble that may not go live, with every reason
└── CryptoError          decryption_failed   wrong key, moved or altered ciphertext
"""

import math
from collections.abc import Mapping, Sequence
from uuid import UUID

from .engine.errors import Reason


class ServiceError(Exception):
    """Base of every error the service raises on purpose. `code` is stable, the message is safe to show."""

    code = "service_error"
    status = 500


class InvalidRequest(ServiceError):
    code = "invalid_request"
    status = 400


class NotAttested(ServiceError):
    code = "not_attested"
    status = 403

    def __init__(self) -> None:
        super().__init__(
            "This call does not show that it comes from the app on a sound phone. Fetch a new attestation token for it "
            "and send that as X-Attestation; if it is refused again, update the app."
        )


class NotEnrolled(ServiceError):
    code = "not_enrolled"
    status = 404

    def __init__(self, message: str = "This subject has no reference. Enroll one first.") -> None:
        super().__init__(message)


class ReferencesLost(NotEnrolled):
    def __init__(self) -> None:
        super().__init__(
            "None of the subject's references could be embedded for the active version. Enroll it again, by a caller "
            "with the right to override (override=true): there is nothing to compare the new face with."
        )


class NotFound(ServiceError):
    code = "not_found"
    status = 404


class ConfigChanged(ServiceError):
    code = "config_changed"
    status = 409


class ReferenceMismatch(ServiceError):
    code = "reference_mismatch"
    status = 409

    def __init__(self, message: str = "") -> None:
        super().__init__(
            message
            or "This face does not match the subject's references. Enroll it only if you are sure who it is: "
            "a caller with the right to override may repeat the request with override=true."
        )


class DuplicateReference(ServiceError):
    code = "duplicate_reference"
    status = 409

    def __init__(self, reference_id: UUID) -> None:
        self.reference_id = reference_id
        super().__init__(
            "This picture is one of the subject's references already; `reference_id` says which. After a lost answer "
            "the enrolment is done. To add a reference, take a new picture."
        )


class DuplicateFace(ServiceError):
    """`subject_id` is the other one's: for callers who may see it. `facts` are for the audit event."""

    code = "duplicate_face"
    status = 409

    def __init__(self, subject_id: str, facts: Mapping[str, str]) -> None:
        self.subject_id = subject_id
        self.facts = facts
        super().__init__(
            "Another member of the group has this face. Look who stands there, and whose reference is the wrong one: "
            "erase that. Where both are right (twins), a caller with the right to override may repeat the request with "
            "override=true."
        )


class ReferenceLimit(ServiceError):
    code = "reference_limit"
    status = 409

    def __init__(self, count: int) -> None:
        super().__init__(
            f"The subject has {count} references, as many as it may have. Delete one (GET subjects/… lists them), then "
            "repeat the request."
        )


class StillAnswering(ServiceError):
    code = "idempotency_in_progress"
    status = 409
    retry_after_s = 2

    def __init__(self) -> None:
        super().__init__(
            f"This request is being answered already. Repeat it, with its Idempotency-Key, in {self.retry_after_s} s."
        )


class IdempotencyConflict(ServiceError):
    code = "idempotency_conflict"
    status = 422

    def __init__(self) -> None:
        super().__init__(
            "Another request came with this Idempotency-Key. Only a repetition has the key of an earlier request; send "
            "this one with a new key."
        )


class LockedOut(ServiceError):
    code = "locked_out"
    status = 429
    why = "Too many faces that did not match were shown for this subject."

    def __init__(self, left_s: float) -> None:
        self.retry_after_s = max(1, math.ceil(left_s))
        super().__init__(f"{self.why} Try again in {self.retry_after_s} s.")


class Slowed(LockedOut):
    code = "throttled"
    why = "This device has shown too many faces that did not match."


class SearchedTooMuch(LockedOut):
    code = "throttled"
    why = "This device has searched too many candidates, or too often: a search among few counts for more."


_ASK_AGAIN = "Ask for a new one, by POST liveness/challenges, and take its pictures."


class ChallengeExpired(ServiceError):
    code = "challenge_expired"
    status = 409

    def __init__(self) -> None:
        super().__init__(f"The challenge was answered too late. {_ASK_AGAIN}")


class ChallengeUsed(ServiceError):
    code = "challenge_used"
    status = 409

    def __init__(self) -> None:
        super().__init__(f"The challenge was answered before; each can be answered once. {_ASK_AGAIN}")


class NotLive(ServiceError):
    """Nobody has shown to be before the camera. `details` say why, `reasons` are their words, each once."""

    code = "not_live"
    status = 422
    advice = ""

    def __init__(self, details: Sequence[Reason] = ()) -> None:
        self.details = tuple(details)
        self.reasons = tuple(dict.fromkeys(reason.text for reason in details))
        super().__init__(" ".join(filter(None, ["; ".join(self.reasons).capitalize() + ".", self.advice])))


class ChallengeRequired(NotLive):
    code = "challenge_required"
    advice = _ASK_AGAIN

    def __init__(self) -> None:
        super().__init__([Reason("no_challenge", "answer a challenge to show that somebody is there")])


class ChallengeFailed(NotLive):
    code = "challenge_failed"
    advice = f"This challenge is used up. {_ASK_AGAIN}"


class SpoofSuspected(NotLive):
    code = "spoof_suspected"
    advice = "If it is a person, let somebody on the spot decide."


class RolloutRefused(ServiceError):
    code = "rollout_refused"
    status = 409


class NotReady(ServiceError):
    code = "not_ready"
    status = 503


class Overloaded(ServiceError):
    code = "overloaded"
    status = 503

    def __init__(self, clear_in_s: float) -> None:
        self.retry_after_s = max(1, math.ceil(clear_in_s))
        super().__init__(f"More is asked than can be answered now. Try again in {self.retry_after_s} s.")


class ArtifactError(ServiceError):
    code = "artifact_error"


class ArtifactMissing(ArtifactError):
    code = "artifact_missing"


class ArtifactCorrupt(ArtifactError):
    code = "artifact_corrupt"


class BucketUnavailable(ArtifactError):
    code = "bucket_unavailable"
    status = 503


class ObjectExists(ArtifactError):
    code = "object_exists"
    status = 409


class CacheUnwritable(ArtifactError):
    code = "cache_unwritable"
    status = 503


class NameTaken(ArtifactError):
    code = "name_taken"
    status = 409


class ConfigInvalid(ServiceError):
    """Every reason against a version, not only the first."""

    code = "config_invalid"
    status = 409

    def __init__(self, reasons: list[str]) -> None:
        self.reasons = reasons
        super().__init__(" ".join(reasons))


class CryptoError(ServiceError):
    code = "decryption_failed"
