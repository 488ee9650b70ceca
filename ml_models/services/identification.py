"""Who of a roster is it? One attempt, from pictures to a decision and its audit row."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import numpy as np
from django.db import DatabaseError

from .. import runtime, tracing
from ..engine import identify as engine
from ..engine.compare import by_member
from ..engine.quality import advised
from ..engine.types import Decision, Embeddings, Extraction, Faces, Quality
from ..exceptions import ConfigChanged, InvalidRequest, NotEnrolled, NotReady, Overloaded
from ..models import EnsembleConfig, Identification
from ..runtime import ServedVersion
from . import challenges, groups, liveness, lockout, rosters, searches, subject_ids
from .attempts import Attempt, require_frames, steps_ms
from .callers import Caller
from .challenges import Answer
from .liveness import Live
from .rosters import Candidate, Roster
from .searches import Search

MAX_SUBJECTS = 200
"""Who is searched without a group is named in the request."""
MOST_CANDIDATES = 3
LARGE_ROSTER = 128
"""Of a roster of more, one member's vectors are read, and the others' of the shortlist alone."""
SHORTLIST = 16
"""Those nearest to the frames by that member. Whoever was looked for was the fifth there at worst:
docs/decisions/identify.md."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """A candidate with its score, natural-log LLR."""

    candidate: Candidate
    score: float


@dataclass(frozen=True, slots=True)
class Identified:
    """What came of an attempt, and its audit row. `decision` is the best candidate's, its thresholds raised for the
    roster's size; `candidates` are the ones to be reviewed, best first; `margin` is how far the next one is behind the
    best, None where there is no other."""

    identification: Identification
    config: EnsembleConfig
    decision: Decision
    subject_id: str | None
    candidates: tuple[Ranked, ...]
    margin: float | None
    roster: Roster
    quality: Quality
    frames_dropped: list[dict[str, Any]]
    elapsed_ms: float
    live: Live


def identify(
    caller: Caller,
    images: Sequence[bytes],
    *,
    group_id: str | None = None,
    among: Sequence[str] = (),
    answer: Answer | None = None,
) -> Identified:
    """Who of a roster is the face in these frames, if anybody?

    Args:
        caller: for the limit, the audit row and the event.
        images: 1 to `MAX_FRAMES` pictures of one attempt; the ones that cannot be used are dropped and named.
        group_id: the host's id of the group to search.
        among: or the host's ids of up to `MAX_SUBJECTS` subjects.
        answer: the challenge that the pictures answer; it was asked for with the same group or subjects.

    Raises:
        InvalidRequest: an id breaks the rule, or there are too few or too many subjects or images.
        NotFound: there is no such group.
        NotLive, ChallengeUsed, ChallengeExpired, NotFound: see `liveness`.
        NotEnrolled: nobody on the roster has a reference.
        SearchedTooMuch: with the caller's credential, lately.
        Slowed: the caller's credential has failed too many people, or waits for whoever would be named.
        LockedOut: whoever would be named is locked, or the one who was asked for.
        ConfigChanged: whoever would be named was erased, or taken off the roster, meanwhile.
        NotReady: no version is active, it cannot identify, or this process has not loaded it.
        Overloaded: it would have waited too long for a core.
        ImageError: no frame could be used; the first one's reason.
        CryptoError, InferenceFailed, MissingThreshold: never a decision.
    """
    search = Search(caller)
    try:
        if (group_id is None) == (not among):
            raise InvalidRequest("Name a group, or the subjects.")
        require_frames(images)
        if len(among) > MAX_SUBJECTS:
            raise InvalidRequest(f"Name at most {MAX_SUBJECTS} subjects; these are {len(among)}. Or make a group.")
        for subject_id in among:
            subject_ids.require(subject_id)
        with tracing.span("identify"):
            return _identify(search, images, group_id, among, answer)
    except (DatabaseError, Overloaded):  # nor would the event be written; nobody looked at the pictures
        raise
    except Exception as error:
        searches.record_failure(search, error)
        raise


def _identify(
    search: Search, images: Sequence[bytes], group_id: str | None, among: Sequence[str], answer: Answer | None
) -> Identified:
    started = time.perf_counter()
    version = runtime.active()
    offsets, config = version.identification, version.config
    search.attempt.config = config
    with tracing.span("identify.roster"):
        _name_roster(search, group_id, among)
    searches.begin(search.caller, len(search.subject_ids))
    if len(search.subject_ids) == 1:
        lockout.require_claimed_free(search.caller, search.subject_ids[0])
    live, shown, timings = _look(search, version, images, group_id or challenges.among(among), answer)
    roster = cast(Roster, search.roster)  # by now it is read
    searches.spend(search.caller, len(roster.candidates))
    began = time.perf_counter()
    with tracing.span("identify.search"):
        found = _find(search.attempt, version, roster, offsets)
    decision = found.decision
    if decision.decision == "match":
        live.require_subject(search.caller, version, shown, found.best)
    if len(search.subject_ids) == 1:  # who it should be is known: each failure is a guess, as a verify's is
        claimed = found.ranked[0].candidate
        lockout.settle(search.caller, claimed.subject, claimed.subject_id, decision.decision)
    elapsed_ms = (time.perf_counter() - started) * 1000
    timings |= {"search": (time.perf_counter() - began) * 1000, "total": elapsed_ms}
    quality = advised(search.attempt.quality, decision.probe_condition)
    told = found.ranked[: found.told]
    search.shown = tuple(one.candidate for one in told)
    with tracing.span("identify.audit"):
        row = searches.record_decision(search, decision, found.margin, quality, timings)
    dropped = search.attempt.dropped
    counts = {"frames": len(images), "dropped": len(dropped), "candidates": len(roster.candidates)}
    tracing.note(decision=decision.decision, config_version=config.version, **counts)
    named = told[0].candidate.subject_id if decision.decision == "match" else None
    reviewable = told if decision.decision == "review" else ()
    return Identified(
        row, config, decision, named, reviewable, found.margin, roster, quality, dropped, elapsed_ms, live
    )


def _look(
    search: Search, version: ServedVersion, images: Sequence[bytes], claim: str, answer: Answer | None
) -> tuple[Live, list[Extraction], dict[str, float]]:
    """Look at the pictures, and read the roster beside them. Returns: as `liveness.take`, and milliseconds by step."""
    foremost = version.rule.foremost.name if len(search.subject_ids) > LARGE_ROSTER else None
    reading = partial(_read, search, rosters.reader(search.subject_ids, version.config, foremost))
    with tracing.span("identify.pictures"):
        live, shown = liveness.take(search.attempt, search.caller, version, "identify", claim, answer, images, reading)
        timings = steps_ms(shown) | {"roster": search.read_ms}
        tracing.note_steps(timings)
    return live, shown, timings


def _name_roster(search: Search, group_id: str | None, among: Sequence[str]) -> None:
    if group_id is None:
        search.subject_ids = tuple(sorted(set(among)))
        return
    search.group, search.subject_ids = groups.members(group_id)


def _read(search: Search, reader: Callable[[], Roster]) -> None:
    """Read the roster, in any thread.

    Raises:
        NotReady, NotEnrolled: nobody on it can be searched.
        CryptoError, InferenceFailed: see `rosters.read`.
    """
    started = time.perf_counter()
    roster = search.roster = reader()
    search.read_ms = (time.perf_counter() - started) * 1000
    if roster.candidates:
        return
    if roster.not_embedded:
        raise NotReady("Nobody on this roster is embedded for the active version yet.")
    raise NotEnrolled("Nobody on this roster has a reference. Enroll them first.")


@dataclass(frozen=True, slots=True)
class _Found:
    """`ranked` are those compared by every member, best first; `told` of them may be told of. `best` is the best one's
    template, `margin` as in `Identified`."""

    ranked: tuple[Ranked, ...]
    told: int
    decision: Decision
    margin: float | None
    best: Mapping[str, Embeddings]


def _find(attempt: Attempt, version: ServedVersion, roster: Roster, offsets: engine.IdentificationRule) -> _Found:
    """Compare the frames with everybody on the roster.

    Raises:
        ConfigChanged: see `_shortlist`.
        CryptoError, InferenceFailed, MissingThreshold: never a decision.
    """
    faces, quality = by_member(attempt.frames), attempt.quality.score
    near = _shortlist(roster, faces, version)
    scores = engine.score(version.rule, near.templates, faces, quality)
    order = np.argsort(-scores.margin, kind="stable")
    margins = scores.margin[order]
    best = near.templates.take(order[:1]).embeddings
    decision = version.rule.judge(best, faces, quality)
    decided, told = _decide(margins, decision, offsets.at(len(roster.candidates)))
    ranked = tuple(Ranked(near.candidates[i], float(scores.score[i])) for i in order)
    return _Found(ranked, told, decided, float(margins[0] - margins[1]) if len(order) > 1 else None, best)


def _shortlist(roster: Roster, faces: Faces, version: ServedVersion) -> Roster:
    """The candidates who may be named, with the vectors of every member.

    Raises:
        ConfigChanged: none of them is there any more.
        CryptoError, InferenceFailed: see `rosters.read`.
    """
    if len(roster.templates.embeddings) == len(version.config.members.all()):
        return roster
    nearest = engine.nearest(roster.templates, faces, SHORTLIST)
    near = rosters.completed(roster, nearest, version.config)
    if not near.candidates:
        raise ConfigChanged(searches.ROSTER_CHANGED)
    return near


def _decide(margins: Any, best: Decision, offset: engine.Offset) -> tuple[Decision, int]:
    """The decision about the best candidate, and how many are to be told of.

    Args:
        margins: over verify's thresholds, highest first, shape (N,).
        best: verify's decision about the best candidate.
        offset: what the roster's size adds to the thresholds.
    """
    threshold, review = best.threshold + offset.match, best.threshold + offset.review
    raised = replace(best, decision="no_match", threshold=threshold, review_threshold=review)
    over = int((margins >= offset.match).sum())
    if over == 1:
        return replace(raised, decision="match"), 1
    # two who could both be named: twins, or one person twice on the roster. A person decides
    to_review = int((margins >= offset.review).sum())
    if to_review:
        return replace(raised, decision="review"), min(MOST_CANDIDATES, to_review)
    return raised, 0
