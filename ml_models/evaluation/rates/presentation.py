"""Error rates of presentation attack detection, in the words of ISO/IEC 30107-3.

APCER: the share of attack presentations of one species (a kind of print, screen, mask) that are taken for people.
BPCER: the share of bona fide presentations, people's own, that are taken for attacks. Non-response (APNRR, BPNRR): no
verdict, because no face was found or it is too small; such a presentation is neither of the two errors, and counts
among all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .intervals import FEW_ERRORS, REPLICATES, SEED, TAILS, Rate, clopper_pearson, rate

BONA_FIDE = "bona_fide"
Verdict = Literal["yes", "no", "uncertain", "no_response"]
APCERS = (0.05, 0.01)


@dataclass(frozen=True, slots=True)
class Presented:
    """One presentation. `kind` is `bona_fide` or the attack's species; `score` a log-likelihood ratio of a person over
    an attack, None where there was no verdict."""

    subject: str
    camera: str
    kind: str
    verdict: Verdict
    score: float | None


def rates(presented: Sequence[Presented]) -> dict[str, Any]:
    """Every rate with its 95 % interval from a bootstrap over subjects, for all cameras together and by camera.

    Returns: `bona_fide` and, in `species` by name, `count`, `subjects`, `error` (BPCER or APCER) and `non_response`;
        `bpcer_at_apcer` by the APCER of the worst species, None where a species has no score; `cameras` by name, the
        same without `cameras`.
    """
    cameras = sorted({one.camera for one in presented} - {""})
    whole = _rates(presented)
    by_camera = {name: _rates([one for one in presented if one.camera == name]) for name in cameras}
    return {**whole, "cameras": by_camera}


def _rates(presented: Sequence[Presented]) -> dict[str, Any]:
    kinds = sorted({one.kind for one in presented} - {BONA_FIDE})
    of_kind = {kind: [one for one in presented if one.kind == kind] for kind in (BONA_FIDE, *kinds)}
    return {
        "bona_fide": _figures(of_kind[BONA_FIDE], "no") if of_kind[BONA_FIDE] else None,
        "species": {kind: _figures(of_kind[kind], "yes") for kind in kinds},
        "bpcer_at_apcer": {str(apcer): _bpcer_at(of_kind, apcer) for apcer in APCERS},
    }


def _figures(ones: Sequence[Presented], wrong: Verdict) -> dict[str, Any]:
    return {
        "count": len(ones),
        "subjects": len({one.subject for one in ones}),
        "error": share(ones, [one.verdict == wrong for one in ones]),
        "non_response": share(ones, [one.verdict in ("uncertain", "no_response") for one in ones]),
    }


def _bpcer_at(of_kind: Mapping[str, Sequence[Presented]], apcer: float) -> Rate | None:
    """BPCER at the least threshold at which no species has a higher APCER."""
    species = [ones for kind, ones in of_kind.items() if kind != BONA_FIDE]
    scored = [sorted(one.score for one in ones if one.score is not None) for ones in species]
    people = of_kind[BONA_FIDE]
    if not people or not scored or not all(scored):
        return None
    # so many of the highest scores may be taken for people; the threshold lies above the next one
    cuts = [
        scores[-1 - int(apcer * len(ones))] if int(apcer * len(ones)) < len(scores) else -np.inf
        for scores, ones in zip(scored, species, strict=True)
    ]
    return share(people, [one.score is not None and one.score <= max(cuts) for one in people])


def changes(first: Sequence[Presented], second: Sequence[Presented]) -> list[dict[str, Any]]:
    """What the second version does better or worse than the first.

    Args:
        first, second: both versions' answers to the same presentations, in the same order.

    Returns: for the BPCER and each species' APCER `what`, `first`, `second`, the change's interval `low` and `high`
        over the same draws of people, and `verdict`: better, worse or cannot tell. Where fewer than five people are
        judged otherwise nothing can be told, and `low` and `high` are None.
    """
    both = [*zip(first, second, strict=True)]
    kinds = [BONA_FIDE, *sorted({one.kind for one in first} - {BONA_FIDE})]
    return [_change(kind, [pair for pair in both if pair[0].kind == kind]) for kind in kinds]


def _change(kind: str, pairs: Sequence[tuple[Presented, Presented]]) -> dict[str, Any]:
    wrong = "no" if kind == BONA_FIDE else "yes"
    ones = [before for before, _ in pairs]
    trials, before = _by_subject(ones, [one.verdict == wrong for one, _ in pairs])
    _, after = _by_subject(ones, [one.verdict == wrong for _, one in pairs])
    change: dict[str, Any] = {
        "what": "BPCER" if kind == BONA_FIDE else f"APCER of {kind}",
        "first": float(before.sum() / trials.sum()),
        "second": float(after.sum() / trials.sum()),
    }
    if int((before != after).sum()) < FEW_ERRORS:
        return {**change, "low": None, "high": None, "verdict": "cannot tell"}
    drawn = _draws(len(trials))
    low, high = _tails(drawn @ (after - before) / (drawn @ trials))
    verdict = "better" if high < 0 else "worse" if low > 0 else "cannot tell"
    return {**change, "low": low, "high": high, "verdict": verdict}


def share(ones: Sequence[Presented], errors: Sequence[bool]) -> Rate:
    """The share in error, with its interval over subjects. Where fewer than five people are in error a bootstrap
    underestimates the tail: the interval is widened to Clopper and Pearson's, in people."""
    trials, wrong = _by_subject(ones, errors)
    drawn = _draws(len(trials))
    low, high = _tails(drawn @ wrong / (drawn @ trials))
    value = float(wrong.sum() / trials.sum())
    in_error, spared = int((wrong > 0).sum()), int((wrong < trials).sum())
    if min(in_error, spared) < FEW_ERRORS:
        exact = clopper_pearson(round(value * len(trials)), len(trials))
        low, high = min(low, exact[0]), max(high, exact[1])
    return rate(value, low, high)


def _by_subject(ones: Sequence[Presented], errors: Sequence[bool]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How many presentations each subject made, and how many of them were in error; in the order of their names."""
    _, subject = np.unique([one.subject for one in ones], return_inverse=True)
    wrong = np.bincount(subject, weights=np.array(errors, np.float64))
    return np.bincount(subject).astype(np.float64), wrong.astype(np.float64)


def _draws(subjects: int) -> NDArray[np.int64]:
    """How often each subject is drawn in each replicate, shape (replicates, subjects); always the same."""
    return np.random.default_rng(SEED).multinomial(subjects, np.full(subjects, 1 / subjects), size=REPLICATES)


def _tails(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(values, TAILS)
    return float(low), float(high)
