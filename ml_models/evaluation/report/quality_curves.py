"""Does a quality measure point at the pictures that will fail? Error-versus-discard curves.

The mated comparisons are put in the order of the poorer picture's quality; the FNMR of what is left falls as the
poorest share is discarded, if the measure predicts errors (Grother and Tabassi, 2007; ISO/IEC 29794-1:2024, 7.4). The
threshold is the one at which the FMR is at its target with nothing discarded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...engine.quality import QualityLimits, reasons
from ...engine.types import Quality
from ..lists.pairs import Comparisons, Flags, concatenate
from ..pictures.embedding import Embedded
from ..rates.intervals import TAILS, Rate, Subjects, Values, rate
from ..rates.metrics import System, threshold_at_fmr
from ..study import Study, failure_rate

SHARES = np.linspace(0.0, 0.3, 31)
"""What is discarded; a service that sends away more than three in ten has other worries."""
SHOWN = (0.01, 0.05, 0.1, 0.2)

# where the luminance of a well exposed face lies; both ends of the scale are worse
_EXPOSED = 130.0
# measures of which more is not better, turned so that it is
_ORDER: Mapping[str, Callable[[Values], Values]] = {
    "brightness": lambda values: -np.abs(values - _EXPOSED),
    "yaw_deg": lambda values: -np.abs(values),
    "pitch_deg": lambda values: -np.abs(values),
    "roll_deg": lambda values: -np.abs(values),
    "landmark_residual": lambda values: -values,
}


def goodness(name: str, values: Values) -> Values:
    """A measure of `engine.types.Quality` as a number of which more is better, shape (I,)."""
    return _ORDER[name](values) if name in _ORDER else values


@dataclass(frozen=True, slots=True)
class Curve:
    """`fnmr[k]` of what is left when `SHARES[k]` is discarded; `gain` is how much of the area between the flat line of
    a measure that knows nothing (0) and the curve of one that knows the errors (1) this one wins, below 0 when it
    discards the wrong ones."""

    fnmr: tuple[Rate, ...]
    gain: Rate

    def at(self, share: float) -> Rate:
        return self.fnmr[int(np.argmin(np.abs(SHARES - share)))]


def curve(comparisons: Comparisons, quality: Values, missed: Flags, subjects: Subjects) -> Curve:
    """The error-versus-discard curve of one measure.

    Args:
        comparisons: mated ones that took place.
        quality: of the poorer picture of each, higher is better, finite, shape (N,).
        missed: which fall under the threshold, shape (N,).

    The intervals come from a bootstrap over subjects; the pictures that a share discards are those of the whole set.
    """
    counts, errors = _kept(comparisons, quality, missed, subjects.count)
    drawn = subjects.drawn.astype(np.float64)
    value = _curve(counts.sum(1), errors.sum(1))
    replicated = _curve(counts @ drawn.T, errors @ drawn.T)
    low, high = np.nanquantile(replicated, TAILS, axis=1)
    gain, gains = _gain(value[:, None])[0], _gain(replicated)
    around = np.quantile(gains, TAILS)
    return Curve(
        tuple(rate(v, a, b) for v, a, b in zip(value, low, high, strict=True)),
        {"value": float(gain), "low": float(min(around[0], gain)), "high": float(max(around[1], gain))},
    )


def _kept(
    comparisons: Comparisons, quality: Values, missed: Flags, subjects: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """By share and subject: how many comparisons are left, and how many of them are errors."""
    order = np.argsort(quality, kind="stable")
    who, wrong = comparisons.subject_a[order], missed[order]
    starts = np.floor(SHARES * len(order) + 1e-9).astype(int)
    counts = np.stack([np.bincount(who[start:], minlength=subjects) for start in starts])
    errors = np.stack([np.bincount(who[start:][wrong[start:]], minlength=subjects) for start in starts])
    return counts.astype(np.float64), errors.astype(np.float64)


def _curve(counts: NDArray[np.float64], errors: NDArray[np.float64]) -> NDArray[np.float64]:
    return errors / np.where(counts > 0, counts, np.nan)


def _gain(fnmr: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of curves in columns, shape (shares, K) → (K,)."""
    first = fnmr[0]
    knows_nothing = first * SHARES[-1]
    knows_all = np.trapezoid(np.maximum(0, first - SHARES[:, None]) / (1 - SHARES[:, None]), SHARES, axis=0)
    between = knows_nothing - knows_all
    won = knows_nothing - np.trapezoid(fnmr, SHARES, axis=0)
    # where there are no errors, nothing can be known about them
    gain: NDArray[np.float64] = np.where(between > 0, won, 0.0) / np.where(between > 0, between, 1.0)
    return gain


def report(study: Study, scores: Sequence[Values], target_fmr: float, enroll: QualityLimits) -> dict[str, Any]:
    """How well each measure predicts errors: `subjects`, `images`, `mated`, `non_mated`, `threshold`, `fnmr`, `fta` (at
    verification), `refused_at_enrolment`, `measures.NAME` with `gain` and `fnmr_at_discard`, and the same by list.

    Args:
        scores: of every comparison of `study.all_pairs`, list by list, −inf where an image was not acquired.
        target_fmr: sets the threshold, on the very non-mated comparisons of the list.
        enroll: the limits of an enrolment.
    """
    subjects, measures = Subjects(len(study.listed.subjects)), _measures(study.embedded)
    refused = _refused(study.embedded, enroll)

    def figures(comparisons: Comparisons, values: Values) -> dict[str, Any]:
        return _figures(study, subjects, measures, refused, System(comparisons, values, subjects), target_fmr)

    lists = dict(zip(study.all_pairs.names, map(figures, study.all_pairs.lists, scores), strict=True))
    together, first = concatenate(study.all_pairs.lists)
    whole = figures(together, np.concatenate(list(scores))[first]) if len(lists) > 1 else next(iter(lists.values()))
    return {**whole, "target_fmr": target_fmr, "lists": lists if len(lists) > 1 else {}}


def _measures(embedded: Embedded) -> dict[str, Values]:
    """Every measure, turned so that more is better, shape (I,); the networks' norms one by one as well."""
    known = {name: values for name, values in embedded.quality.items() if np.isfinite(values).any()}
    turned = {name: goodness(name, values) for name, values in known.items()}
    return {**turned, **{f"feature_norm of {name}": norms for name, norms in embedded.norms.items()}}


def _refused(embedded: Embedded, limits: QualityLimits) -> Flags:
    """Which images an enrolment would refuse, shape (I,)."""
    refused = ~embedded.acquired
    for image in np.flatnonzero(embedded.acquired):
        row = {name: float(values[image]) for name, values in embedded.quality.items()}
        refused[image] = bool(reasons(Quality(reasons=(), details=(), **row), limits))
    return refused


def _figures(
    study: Study, subjects: Subjects, measures: Mapping[str, Values], refused: Flags, system: System, target: float
) -> dict[str, Any]:
    comparisons = system.comparisons
    threshold = threshold_at_fmr(system.non_mated, target)
    mated = np.flatnonzero(system.same & system.acquired)
    part, missed = comparisons.take(mated), system.scores[mated] < threshold
    curves = {
        name: curve(part, np.minimum(values[part.a], values[part.b]), missed, subjects)
        for name, values in measures.items()
    }
    used = np.union1d(comparisons.a, comparisons.b)
    return {
        "subjects": len(np.union1d(comparisons.subject_a, comparisons.subject_b)),
        "images": len(used),
        "mated": len(part),
        "non_mated": len(system.non_mated),
        "threshold": threshold,
        "fnmr": curves["score"].at(0.0),
        "fta": failure_rate(study, study.embedded, subjects, used),
        "refused_at_enrolment": _share_of_images(study, subjects, used, refused[used]),
        "measures": {
            name: {"gain": found.gain, "fnmr_at_discard": {f"{share:g}": found.at(share) for share in SHOWN}}
            for name, found in sorted(curves.items(), key=lambda item: -item[1].gain["value"])
        },
        "curves": {name: [round(r["value"], 6) for r in found.fnmr] for name, found in curves.items()},
    }


def _share_of_images(study: Study, subjects: Subjects, images: NDArray[np.int32], hit: Flags) -> Rate:
    who = study.listed.subject_of[images]
    alone = Comparisons(images, images, who, who, np.zeros(len(images), np.int32))
    return System(alone, np.zeros(len(images)), subjects).share(hit, np.ones(len(images), bool))
