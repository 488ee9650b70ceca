"""Error-versus-discard curves: does a quality measure predict errors?

Mated comparisons are sorted by their poorer picture's quality. If the measure predicts errors, the FNMR of the
remaining comparisons falls as the poorest share is discarded (Grother and Tabassi, 2007; ISO/IEC 29794-1:2024, 7.4).
The threshold is set once, at the target FMR with nothing discarded.
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
"""The shares discarded. No service would send away more than three in ten."""
SHOWN = (0.01, 0.05, 0.1, 0.2)

# luminance of a well exposed face; darker and lighter are both worse
_EXPOSED = 130.0
# for measures of which more is not better: a value that is higher for better pictures
_ORDER: Mapping[str, Callable[[Values], Values]] = {
    "brightness": lambda values: -np.abs(values - _EXPOSED),
    "yaw_deg": lambda values: -np.abs(values),
    "pitch_deg": lambda values: -np.abs(values),
    "roll_deg": lambda values: -np.abs(values),
    "landmark_residual": lambda values: -values,
}


def goodness(name: str, values: Values) -> Values:
    """A measure of `engine.types.Quality` as values that are higher for better pictures, shape (I,)."""
    return _ORDER[name](values) if name in _ORDER else values


@dataclass(frozen=True, slots=True)
class Curve:
    """`fnmr[k]` is the FNMR of the comparisons left when `SHARES[k]` is discarded. `gain` is the part won of the area
    between the flat line of an uninformative measure (0) and the curve of a perfect one (1); it is negative when the
    measure discards comparisons that would have matched."""

    fnmr: tuple[Rate, ...]
    gain: Rate

    def at(self, share: float) -> Rate:
        return self.fnmr[int(np.argmin(np.abs(SHARES - share)))]


def curve(comparisons: Comparisons, quality: Values, missed: Flags, subjects: Subjects) -> Curve:
    """The error-versus-discard curve of one measure.

    Args:
        comparisons: mated, of two acquired pictures.
        quality: of the poorer picture of each, higher is better, finite, shape (N,).
        missed: which fall under the threshold, shape (N,).

    The intervals come from a bootstrap over subjects. Every replicate discards the same pictures as the whole set.
    """
    counts, errors = _remaining(comparisons, quality, missed, subjects.count)
    drawn = subjects.drawn.astype(np.float64)
    value = _curve(counts.sum(1), errors.sum(1))
    replicated = _curve(counts @ drawn.T, errors @ drawn.T)
    low, high = np.nanquantile(replicated, TAILS, axis=1)
    gain, gains = _gain(value[:, None])[0], _gain(replicated)
    gain_low, gain_high = np.quantile(gains, TAILS)
    return Curve(
        tuple(rate(v, a, b) for v, a, b in zip(value, low, high, strict=True)),
        {"value": float(gain), "low": float(min(gain_low, gain)), "high": float(max(gain_high, gain))},
    )


def _remaining(
    comparisons: Comparisons, quality: Values, missed: Flags, subjects: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How many comparisons are left, and how many of them are errors; each by share and subject, shape (shares, S)."""
    order = np.argsort(quality, kind="stable")
    subject, wrong = comparisons.subject_a[order], missed[order]
    starts = np.floor(SHARES * len(order) + 1e-9).astype(int)
    counts = np.stack([np.bincount(subject[start:], minlength=subjects) for start in starts])
    errors = np.stack([np.bincount(subject[start:][wrong[start:]], minlength=subjects) for start in starts])
    return counts.astype(np.float64), errors.astype(np.float64)


def _curve(counts: NDArray[np.float64], errors: NDArray[np.float64]) -> NDArray[np.float64]:
    return errors / np.where(counts > 0, counts, np.nan)


def _gain(fnmr: NDArray[np.float64]) -> NDArray[np.float64]:
    """`Curve.gain` of curves in columns, shape (shares, K) → (K,)."""
    first = fnmr[0]
    uninformative = first * SHARES[-1]
    perfect = np.trapezoid(np.maximum(0, first - SHARES[:, None]) / (1 - SHARES[:, None]), SHARES, axis=0)
    between = uninformative - perfect
    won = uninformative - np.trapezoid(fnmr, SHARES, axis=0)
    # without errors there is nothing to win
    gain: NDArray[np.float64] = np.where(between > 0, won, 0.0) / np.where(between > 0, between, 1.0)
    return gain


def report(study: Study, scores: Sequence[Values], target_fmr: float, enroll: QualityLimits) -> dict[str, Any]:
    """How well each quality measure predicts errors: `subjects`, `images`, `mated`, `non_mated`, `threshold`, `fnmr`,
    `fta` (at verification), `refused_at_enrolment`, `measures.NAME` with `gain` and `fnmr_at_discard`, and the same by
    list.

    Args:
        scores: of every comparison of `study.all_pairs`, list by list; −inf where an image was not acquired.
        target_fmr: sets the threshold, on the list's own non-mated comparisons.
        enroll: the limits at enrolment.
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
    """Every measure, and each network's feature norm, as values that are higher for better pictures, shape (I,)."""
    measured = {name: values for name, values in embedded.quality.items() if np.isfinite(values).any()}
    ordered = {name: goodness(name, values) for name, values in measured.items()}
    return {**ordered, **{f"feature_norm of {name}": norms for name, norms in embedded.norms.items()}}


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
    compared, missed = comparisons.take(mated), system.scores[mated] < threshold
    curves = {
        name: curve(compared, np.minimum(values[compared.a], values[compared.b]), missed, subjects)
        for name, values in measures.items()
    }
    images = np.union1d(comparisons.a, comparisons.b)
    return {
        "subjects": len(np.union1d(comparisons.subject_a, comparisons.subject_b)),
        "images": len(images),
        "mated": len(compared),
        "non_mated": len(system.non_mated),
        "threshold": threshold,
        "fnmr": curves["score"].at(0.0),
        "fta": failure_rate(study, study.embedded, subjects, images),
        "refused_at_enrolment": _share_of_images(study, subjects, images, refused[images]),
        "measures": {
            name: {"gain": one.gain, "fnmr_at_discard": {f"{share:g}": one.at(share) for share in SHOWN}}
            for name, one in sorted(curves.items(), key=lambda item: -item[1].gain["value"])
        },
        "curves": {name: [round(r["value"], 6) for r in one.fnmr] for name, one in curves.items()},
    }


def _share_of_images(study: Study, subjects: Subjects, images: NDArray[np.int32], hit: Flags) -> Rate:
    subject_of = study.listed.subject_of[images]
    alone = Comparisons(images, images, subject_of, subject_of, np.zeros(len(images), np.int32))
    return System(alone, np.zeros(len(images)), subjects).share(hit, np.ones(len(images), bool))
