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


def share(ones: Sequence[Presented], errors: Sequence[bool]) -> Rate:
    """The share in error, with its interval over subjects. Where fewer than five people are in error a bootstrap
    underestimates the tail: the interval is widened to Clopper and Pearson's, in people."""
    names, subject = np.unique([one.subject for one in ones], return_inverse=True)
    trials = np.bincount(subject).astype(np.float64)
    wrong = np.bincount(subject, weights=np.array(errors, np.float64))
    drawn = np.random.default_rng(SEED).multinomial(len(names), np.full(len(names), 1 / len(names)), size=REPLICATES)
    low, high = _tails(drawn @ wrong / (drawn @ trials))
    value = float(wrong.sum() / trials.sum())
    in_error, spared = int((wrong > 0).sum()), int((wrong < trials).sum())
    if min(in_error, spared) < FEW_ERRORS:
        exact = clopper_pearson(round(value * len(names)), len(names))
        low, high = min(low, exact[0]), max(high, exact[1])
    return rate(value, low, high)


def _tails(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(values, TAILS)
    return float(low), float(high)
