"""Is somebody there? What the policy asks of an attempt, and what its frames show.

One attempt, in this order, whatever its purpose (`take` does the first three for verify and identify):

    live = liveness.begin(caller, "identify", group_id, answer, len(images))   # uses the challenge up
    frames = live.extract(version, images, lanes)                              # only where live.steps
    live.examine(caller, version, frames)                                      # refuses before anybody is compared
    … compare live.front(frames) …
    live.require_subject(caller, version, frames, embeddings)                  # of whoever was matched or named

`examine` comes first: who is refused learns nothing about the face. Refusals count for the credential and never for the
subject, whom an attacker could lock out otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from .. import conf, metrics
from ..engine import challenge
from ..engine.errors import ImageError, InferenceFailed, Reason
from ..engine.lanes import Lanes
from ..engine.presentation import Liveness
from ..engine.quality import QualityLimits
from ..engine.turns import Step
from ..engine.types import Decision, Embeddings, Extraction
from ..exceptions import ChallengeFailed, ChallengeRequired, NotReady, SpoofSuspected
from ..runtime import ServedVersion
from . import admission, challenges, lockout
from .attempts import Attempt, tried
from .callers import Caller
from .challenges import Answer, Purpose

T = TypeVar("T")

_DETECTOR_FLOOR = 0.8
_ANY = 1e9  # degrees or pixels: no limit
_PICTURE = Reason("looks_like_a_picture", "hold the camera to the face itself, not to a picture or screen")
_TOO_SMALL = Reason("too_small_to_tell", "come nearer")
_NOT_MEASURED = Reason("not_measured", "nothing looked for a picture or screen")
_NO_CHALLENGE = Reason("no_challenge", "answer a challenge to show that somebody is there")
_ATTENDED = Reason("attended", "somebody on the spot has to look: the head was not turned")
# what only who holds up something else runs into; a wrong turn happens to everybody
_SUSPICIOUS = {"another_person", "same_picture", "mirrored_picture"}


@dataclass(slots=True)
class Live:
    """One attempt. `steps` are empty without a challenge. `verdict` is None where nothing was looked at, and `score` a
    natural-log likelihood ratio of a person over an attack, None where nothing gave one."""

    policy: Mapping[str, conf.Mode]
    steps: tuple[Step, ...] = ()
    verdict: Liveness | None = None
    reasons: tuple[Reason, ...] = ()
    score: float | None = None
    attended: bool = field(init=False)
    """Whether somebody has to look, since this subject's challenge asks for no turn: the best answer is `review`."""

    def __post_init__(self) -> None:
        self.attended = bool(self.steps) and set(self.steps) == {"front"}

    @property
    def looks(self) -> bool:
        """Whether the policy has the attack detector look at the pictures."""
        return self.policy["passive"] != "off"

    def extract(
        self, version: ServedVersion, images: Sequence[bytes], lanes: Lanes, enrolling: QualityLimits | None = None
    ) -> list[Extraction]:
        """The face in each frame of a challenge.

        Args:
            lanes: what runs the pictures, see `admission.admitted`.
            enrolling: the first front frame becomes the reference: by these limits, as it will be stored.

        Raises:
            ChallengeFailed: a frame cannot be used; the challenge is used up all the same.
        """
        limits = [challenge_limits(version.verify_limits)] * len(images)
        reference = self.steps.index("front") if enrolling else -1
        if enrolling:
            limits[reference] = enrolling

        frames = []
        works = [
            partial(tried, version, data, limits[index], lanes, self.looks and step == "front", index == reference)
            for index, (data, step) in enumerate(zip(images, self.steps, strict=True))
        ]
        for index, came in enumerate(lanes.run(works)):
            if isinstance(came, ImageError):
                details = came.details or (Reason(came.code, str(came).rstrip(".")),)
                raise ChallengeFailed([replace(reason, frame=index) for reason in details]) from came
            frames.append(came)
        return frames

    def front(self, items: Sequence[T]) -> list[T]:
        """Those of the front frames; all where there was no challenge."""
        return (
            [item for item, step in zip(items, self.steps, strict=True) if step == "front"] if self.steps else [*items]
        )

    def examine(self, caller: Caller, version: ServedVersion, frames: Sequence[Extraction]) -> None:
        """Look whether a person was before the camera, knowing nothing of whose face it should be.

        Raises:
            ChallengeFailed: the frames do not show the challenge's steps, or not one and the same person.
            SpoofSuspected: the policy enforces that the pictures look like a person's, and they do not, or are too
                small to tell.
            NotReady: the policy enforces what the version has no network or numbers for.
            InferenceFailed: or a network failed.
        """
        if self.steps:
            turned = _turned(version)
            _refuse(caller, challenge.failures(frames, self.steps, version.rule, turned))
            metrics.challenge("passed")
        verdicts = [self._challenge_verdict(), self._passive_verdict(caller, version, self.front(frames))]
        told = [verdict for verdict in verdicts if verdict]
        self.verdict = next((worst for worst in ("no", "uncertain", "yes") if worst in told), None)
        if self.verdict:
            metrics.looked_at(self.verdict)

    def require_subject(
        self, caller: Caller, version: ServedVersion, frames: Sequence[Extraction], template: Mapping[str, Embeddings]
    ) -> None:
        """Every frame of a challenge must match whoever its front frames were matched with.

        Raises:
            ChallengeFailed
        """
        if self.steps:
            turned = _turned(version)
            _refuse(caller, challenge.unlike_template(frames, self.steps, template, version.rule, turned))

    def reviewed(self, decision: Decision) -> Decision:
        """Where somebody has to look and the policy enforces a challenge, a match is no more than a `review`."""
        looked_at = self.attended and self.policy["challenge"] == "enforce" and decision.decision == "match"
        return replace(decision, decision="review") if looked_at else decision

    def to_json(self) -> dict[str, Any]:
        """For the audit row; empty where nothing was looked at."""
        if self.verdict is None:
            return {}
        score = {} if self.score is None else {"score": round(self.score, 4)}
        codes = [reason.code for reason in self.reasons]
        return {"live": self.verdict, "reasons": codes, "steps": list(self.steps), **score}

    def _challenge_verdict(self) -> Liveness | None:
        if self.attended:
            return self._because(_ATTENDED, "uncertain")
        if self.steps:
            return "yes"
        return None if self.policy["challenge"] == "off" else self._because(_NO_CHALLENGE, "uncertain")

    def _passive_verdict(self, caller: Caller, version: ServedVersion, frames: Sequence[Extraction]) -> Liveness | None:
        mode = self.policy["passive"]
        if mode == "off":
            return None
        seen = [frame.presentation for frame in frames if frame.presentation]
        # what failed on one frame is not made up for by the others
        if version.passive is None or len(seen) < len(frames):
            if mode == "enforce":
                raise _unmeasured(version)
            return self._because(_NOT_MEASURED, "uncertain")
        verdict, self.score = version.passive.judge(seen)
        if verdict == "yes":
            return verdict
        reason = _PICTURE if verdict == "no" else _TOO_SMALL
        if mode == "enforce":
            if verdict == "no":
                lockout.count_suspicion(caller)
            raise SpoofSuspected([reason])
        return self._because(reason, verdict)

    def _because(self, reason: Reason, verdict: Liveness) -> Liveness:
        self.reasons = (*self.reasons, reason)
        return verdict


def begin(caller: Caller, purpose: Purpose, claim: str, answer: Answer | None, frames: int) -> Live:
    """Use up the challenge that an attempt answers, before any of its pictures is decoded. One that was sent must be
    passed, whatever the policy.

    Args:
        claim: the host's id of the subject, or of the group that the face is looked for in.
        frames: how many pictures came.

    Raises:
        ChallengeRequired: the policy enforces one, and none was sent.
        ChallengeUsed, ChallengeExpired, NotFound: see `challenges.consume`.
        ChallengeFailed: there is not a picture for each step.
    """
    asked = conf.liveness(purpose)
    if answer is None:
        if asked["challenge"] == "enforce":
            raise ChallengeRequired
        return Live(asked)
    steps = challenges.consume(caller, purpose, claim, answer)
    if frames != len(steps):
        text = f"send {len(steps)} pictures, one for each step in their order; {frames} came"
        raise ChallengeFailed([Reason("frames_missing", text)])
    return Live(asked, steps)


def take(
    attempt: Attempt,
    caller: Caller,
    version: ServedVersion,
    purpose: Purpose,
    claim: str,
    answer: Answer | None,
    images: Sequence[bytes],
    beside: Callable[[], object] | None = None,
) -> tuple[Live, list[Extraction]]:
    """Wait for a core, find the face in each picture and look whether somebody is there. Then the attempt's frames are
    the front ones.

    Args:
        beside: what else is to be done, while a core is idle beside the pictures, else after them. In any thread, so
            that nothing in it may ask Django for a connection.

    Returns: what was seen of it, and all frames.

    Raises:
        what `beside` raises, before all that comes of the pictures.
        Overloaded: see `admission.admitted`.
        ImageError: see `Attempt.extract`.
        NotLive and others: see `begin`, `Live.extract` and `Live.examine`.
    """
    with admission.admitted(admission.VERIFY) as lanes:
        live = begin(caller, purpose, claim, answer, len(images))
        finish = lanes.beside(beside) if beside else None
        try:
            if live.steps:
                attempt.frames = live.extract(version, images, lanes)
            else:
                attempt.extract(version, images, lanes, live.looks)
        finally:
            if finish:
                finish()
        live.examine(caller, version, attempt.frames)
    shown = attempt.frames
    attempt.frames = live.front(shown)
    return live, shown


def challenge_limits(verify: QualityLimits) -> QualityLimits:
    """A turned head is no poor picture; a face that is hardly found is, in a challenge."""
    return replace(
        verify,
        min_detector_score=max(verify.min_detector_score, _DETECTOR_FLOOR),
        max_yaw_deg=_ANY,
        max_landmark_residual=_ANY,
        min_score=0.0,
        min_eye_contrast=0.0,
        min_eyes_visible=0.0,
    )


def _turned(version: ServedVersion) -> challenge.TurnedRule:
    if version.turned is None:
        raise NotReady(
            f"Version {version.config.version} has no numbers for turned heads (liveness.turned), so that no challenge "
            "can be passed. Activate one that has, or ask for none."
        )
    return version.turned


def _unmeasured(version: ServedVersion) -> Exception:
    if version.passive is None:
        return NotReady(
            f"Version {version.config.version} has no network that looks for presentation attacks, and the policy asks "
            "for one. Activate a version that has, or change LIVENESS."
        )
    return InferenceFailed("A network that looks for presentation attacks failed.")


def _refuse(caller: Caller, reasons: Sequence[Reason]) -> None:
    if not reasons:
        return
    if _SUSPICIOUS & {reason.code for reason in reasons}:
        lockout.count_suspicion(caller)
    raise ChallengeFailed(reasons)
