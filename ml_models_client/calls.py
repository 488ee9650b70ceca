"""What can be asked of the service, as values: made once, sent once or again."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote

from .answers import (
    AssessmentAnswer,
    ChallengeAnswer,
    EnrollAnswer,
    ErasedAnswer,
    GroupAnswer,
    IdentifyAnswer,
    SubjectAnswer,
    VerifyAnswer,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One attempt. `key` is its Idempotency-Key, None where the call changes nothing when it is repeated."""

    method: str
    path: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    images: tuple[bytes, ...] = field(default=(), repr=False)
    key: str | None = None


def enroll(
    subject_id: str,
    *images: bytes,
    challenge: ChallengeAnswer | None = None,
    override: bool = False,
    group: str | None = None,
    capture_point: str = "",
    key: str | None = None,
) -> Call[EnrollAnswer]:
    """Add a reference to a subject.

    Args:
        subject_id: the host's id.
        images: one JPEG, PNG, WebP or HEIC file; with a challenge one of each step, in their order.
        challenge: what the pictures answer, of `ask_challenge`.
        override: enroll although the face does not match; needs a right.
        group: the host's id of a group in which nobody else may have this face.
        capture_point: where the pictures were taken, for the audit.
        key: of an earlier attempt that is repeated by another process, with the very same arguments.
    """
    asked = {"subject_id": subject_id}
    if override:
        asked["override"] = "true"
    if group is not None:
        asked["group"] = group
    return _attempt("enroll", asked, images, challenge, capture_point, key or str(uuid.uuid4()))


def verify(
    subject_id: str,
    *images: bytes,
    challenge: ChallengeAnswer | None = None,
    capture_point: str = "",
    key: str | None = None,
) -> Call[VerifyAnswer]:
    """Is the face in the frames the subject's? One to five frames of one attempt; the rest as in `enroll`."""
    return _attempt("verify", {"subject_id": subject_id}, images, challenge, capture_point, key or str(uuid.uuid4()))


def identify(
    roster: str | Iterable[str],
    *images: bytes,
    challenge: ChallengeAnswer | None = None,
    capture_point: str = "",
) -> Call[IdentifyAnswer]:
    """Who of a roster is the face in the frames? Sent again after a lost answer it is a search of its own.

    Args:
        roster: the host's id of a group; or the ids of up to 200 subjects.
        images: as in `verify`.
        challenge: of `ask_identify_challenge`, for the same roster.
    """
    return _attempt("identify", _among(roster, "subject_id"), images, challenge, capture_point, None)


def assess_quality(image: bytes, purpose: Literal["verify", "enroll"] = "verify") -> Call[AssessmentAnswer]:
    """What a picture is like. Nobody is compared, nothing is kept."""
    return Call("POST", "quality", {"purpose": purpose}, (image,))


def ask_challenge(purpose: Literal["verify", "enroll"], subject_id: str) -> Call[ChallengeAnswer]:
    """Steps to be shown before the camera, for one attempt."""
    return Call("POST", "liveness/challenges", {"purpose": purpose, "subject_id": subject_id})


def ask_identify_challenge(roster: str | Iterable[str]) -> Call[ChallengeAnswer]:
    """As `ask_challenge`, for an `identify` of this roster."""
    return Call("POST", "liveness/challenges", {"purpose": "identify", **_among(roster, "subject_ids")})


def put_group(group_id: str, subject_ids: Iterable[str]) -> Call[GroupAnswer]:
    """Make a group of just these subjects, enrolled or not, in place of whoever was in it."""
    return Call("PUT", f"groups/{_part(group_id)}", {"subject_ids": _ids(subject_ids)})


def change_group(group_id: str, add: Iterable[str] = (), remove: Iterable[str] = ()) -> Call[GroupAnswer]:
    """Add members to a group, and remove others."""
    return Call("PATCH", f"groups/{_part(group_id)}", {"add": _ids(add), "remove": _ids(remove)})


def get_group(group_id: str) -> Call[GroupAnswer]:
    """Who is in a group, and who of them is not enrolled."""
    return Call("GET", f"groups/{_part(group_id)}")


def erase_group(group_id: str) -> Call[None]:
    """Delete a group; its members stay enrolled. Sent again as `erase_subject`."""
    return Call("DELETE", f"groups/{_part(group_id)}")


def get_subject(subject_id: str) -> Call[SubjectAnswer]:
    """What is enrolled for a subject."""
    return Call("GET", f"subjects/{_part(subject_id)}")


def erase_subject(subject_id: str) -> Call[ErasedAnswer]:
    """Erase a subject. Sent again after a lost answer it is `not_found`: done."""
    return Call("DELETE", f"subjects/{_part(subject_id)}")


def erase_reference(reference_id: str) -> Call[None]:
    """Erase one reference; as `erase_subject`."""
    return Call("DELETE", f"references/{_part(reference_id)}")


def _ids(subject_ids: Iterable[str] | bytes) -> list[str]:
    """Raises: TypeError: it is one text, of which each letter would become a subject; or bytes, of which each one."""
    if isinstance(subject_ids, str):
        raise TypeError(f"Give a list of ids, not one text: [{subject_ids!a}]")
    if isinstance(subject_ids, bytes):
        raise TypeError("Give ids, not bytes. Pictures come behind them.")
    return [*subject_ids]


def _part(host_id: str) -> str:
    """An id as the end of an address. One that would be another address, and so another's id, is refused here: no
    server could tell.

    Raises:
        ValueError
    """
    if not {"", ".", ".."}.isdisjoint(host_id.split("/")):
        raise ValueError(f"No part of an id between slashes is empty, “.” or “..”: {host_id!a}")
    return quote(host_id)


def _among(roster: str | Iterable[str], ids: str) -> dict[str, Any]:
    """A roster as the calls name it: a group, or ids in the field of this name."""
    return {"group": roster} if isinstance(roster, str) else {ids: _ids(roster)}


def _attempt(
    path: str,
    asked: Mapping[str, Any],
    images: tuple[bytes, ...],
    challenge: ChallengeAnswer | None,
    capture_point: str,
    key: str | None,
) -> Call[Any]:
    answered = {"challenge_id": challenge["challenge_id"], "nonce": challenge["nonce"]} if challenge else {}
    where = {"capture_point": capture_point} if capture_point else {}
    return Call("POST", path, {**asked, **answered, **where}, images, key)
