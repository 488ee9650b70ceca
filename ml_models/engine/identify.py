"""One attempt's frames against everybody on a roster, and the threshold that rises with it.

A candidate's score is the one that `Fusion.judge` gives for that candidate alone. The best of many strangers scores
higher than one of them: so the threshold depends on how many are searched.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .compare import Observation, require_comparable, require_finite, require_same_members
from .errors import InferenceFailed, MissingThreshold
from .fuse import Condition, Fusion, discriminants
from .types import Embeddings, Faces, Vectors, glasses_in
from .voters import raw_score

Values = NDArray[np.float64]
MAX_CANDIDATES = 2000
_ROWS = 256


@dataclass(frozen=True, slots=True)
class Offset:
    """What is added to verify's threshold where so many candidates are searched: to name the best one, and for a
    `review`; natural-log LLR."""

    candidates: int
    match: float
    review: float


@dataclass(frozen=True, slots=True)
class IdentificationRule:
    """The offsets that hold the false positive identification rate (FPIR; ISO/IEC 19795-1) at `target_fpir`. Between
    two numbers of candidates an offset is linear in the logarithm of the number."""

    target_fpir: float
    offsets: tuple[Offset, ...]

    def __post_init__(self) -> None:
        sizes = [offset.candidates for offset in self.offsets]
        if not sizes or sizes[0] != 1 or sizes[-1] != MAX_CANDIDATES or sizes != sorted(set(sizes)):
            raise ValueError(f"identification needs offsets for rising numbers of candidates, 1 to {MAX_CANDIDATES}.")
        for values in ([o.match for o in self.offsets], [o.review for o in self.offsets]):
            if not all(map(math.isfinite, values)) or values != sorted(values):
                raise ValueError("identification: the offsets are finite, and none falls as the candidates rise.")
        if any(offset.match < 0 or offset.review > offset.match for offset in self.offsets):
            raise ValueError("identification: the offset of a match is at least 0, that of a review at most as high.")
        if not 0 < self.target_fpir < 0.5:
            raise ValueError(f"identification: the target FPIR is above 0 and under 0.5, not {self.target_fpir}.")

    def at(self, candidates: int) -> Offset:
        """The offsets where so many are searched.

        Raises:
            MissingThreshold: none or too many are.
        """
        if not 1 <= candidates <= MAX_CANDIDATES:
            raise MissingThreshold(f"No threshold is set for {candidates} candidates, only for 1 to {MAX_CANDIDATES}.")
        sizes = np.log([offset.candidates for offset in self.offsets])
        match, review = (
            float(np.interp(math.log(candidates), sizes, values))
            for values in ([o.match for o in self.offsets], [o.review for o in self.offsets])
        )
        return Offset(candidates, match, review)


@dataclass(frozen=True, slots=True)
class Templates:
    """Many subjects' references, subject by subject: by member, `embeddings` of shape (R, D). Those of subject i begin
    at row `starts[i]`, shape (N,); each has at least one."""

    embeddings: Mapping[str, Embeddings]
    starts: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def glasses(self) -> Values:
        """How likely each reference shows glasses, shape (R,); see `Faces`."""
        return np.broadcast_to(glasses_in(self.embeddings), len(next(iter(self.embeddings.values())).norms))

    @property
    def counts(self) -> NDArray[np.intp]:
        """How many references each subject has, shape (N,)."""
        references = len(next(iter(self.embeddings.values())).norms)
        return np.diff(self.starts, append=references)

    def take(self, subjects: NDArray[np.intp]) -> Templates:
        """Only these subjects, in this order."""
        counts = self.counts[subjects]
        starts = np.cumsum(counts) - counts
        rows = np.repeat(self.starts[subjects] - starts, counts) + np.arange(counts.sum())
        taken = {name: Embeddings(e.vectors[rows], e.norms[rows]) for name, e in self.embeddings.items()}
        return Templates(Faces(taken, self.glasses[rows]), starts)

    def means(self, values: Values) -> Values:
        """The mean over each subject's references, (R, …) → (N, …)."""
        sums = np.add.reduceat(values, self.starts, axis=0)
        return np.asarray(sums / self.counts.reshape(-1, *[1] * (values.ndim - 1)), np.float64)


@dataclass(frozen=True, slots=True)
class Scores:
    """Every candidate's score, and the threshold that verify has for it; natural-log LLR, shape (N,) each."""

    score: Values
    threshold: Values

    @property
    def margin(self) -> Values:
        return self.score - self.threshold


def nearest(templates: Templates, frames: Mapping[str, Embeddings], most: int) -> NDArray[np.intp]:
    """The candidates whose templates look most like the frames to the members that the templates have, nearest first,
    at most so many: by the mean cosine.

    Raises:
        InferenceFailed: as `compare`.
    """
    observed, _ = _observe(templates, {name: frames[name] for name in templates.embeddings}, ())
    similarity = np.stack([np.asarray(observation.similarity) for observation in observed.values()]).sum(0)
    return np.argsort(-similarity, kind="stable")[:most]


def score(rule: Fusion, templates: Templates, frames: Mapping[str, Embeddings], quality_score: float) -> Scores:
    """Score every candidate as `Fusion.judge` does.

    Args:
        templates: the candidates'.
        frames: of one attempt, by member.
        quality_score: the best frame's, [0, 1].

    Raises:
        InferenceFailed, LowQuality, MissingThreshold: as `Fusion.judge` for any of them.
    """
    shown = discriminants(frames, rule.conditions)
    observed, stored = _observe(templates, frames, rule.of_references)
    added = {
        shared.name: np.asarray(shared.shared_margin(stored[shared.name], shown.get(shared.name, 0.0), observed))
        for shared in rule.shared_under(None)
    }
    scores = Scores(np.empty(len(templates)), np.empty(len(templates)))
    for (name, margin), subjects in _by_rule(rule, stored, shown, len(templates)).items():
        condition = next((condition for condition in rule.conditions if condition.name == name), None)
        voters, voter_set = (condition.fusion if condition else rule).voting(quality_score)
        if condition:
            own = templates.take(subjects)
            references, probes = condition.relative(own.embeddings, frames)
            relative, _ = _observe(Templates(references, own.starts), probes, ())
            values = raw_score(relative, voters, voter_set)
        else:
            values = np.asarray(raw_score(observed, voters, voter_set))[subjects]
        margins = np.full(len(subjects), margin)
        for shared in rule.shared_under(condition):
            margins = np.maximum(margins, added[shared.name][subjects])
        scores.score[subjects] = voter_set.calibration(values)
        scores.threshold[subjects] = voter_set.threshold + margins
    if not np.isfinite(scores.score).all():
        raise InferenceFailed("A candidate's score is not finite.")
    return scores


def _by_rule(
    rule: Fusion, stored: Mapping[str, Values], shown: Mapping[str, float], count: int
) -> dict[tuple[str, float], NDArray[np.intp]]:
    """The candidates by what decides about them in `Fusion.deciding`: a condition's name, "" for the plain rule, and
    the margin added to its thresholds, that of shared conditions left out. `stored` and `shown` are the candidates' and
    the frames' discriminants."""
    stored, shown = rule.without_shared(stored), rule.without_shared(shown)
    alike: dict[tuple[str, float], list[int]] = defaultdict(list)
    in_any = sum((values > 0 for values in stored.values()), np.zeros(count, bool))
    for subject in np.flatnonzero(in_any).tolist():
        own = {name: float(values[subject]) for name, values in stored.items() if values[subject] > 0}
        condition, margin = rule.deciding(own, shown)
        alike[condition.name if condition else "", margin].append(subject)
    condition, margin = rule.deciding({}, shown)
    alike[condition.name if condition else "", margin] += np.flatnonzero(~in_any).tolist()
    return {key: np.array(subjects, np.intp) for key, subjects in alike.items() if subjects}


def _products(vectors: Vectors, others: Values) -> Values:
    """The dot product of each row of `vectors` with each of `others`, (R, D) and (K, D) → (R, K), in float64: so few
    rows at a time that those stay in the processor's cache."""
    # not by `@`: NumPy's OpenBLAS would use threads of its own, which keep the other core busy for 25 ms afterwards
    some = (vectors[i : i + _ROWS, None].astype(np.float64) for i in range(0, len(vectors), _ROWS))
    return np.concatenate([np.vecdot(rows, others) for rows in some])


def _observe(
    templates: Templates, frames: Mapping[str, Embeddings], conditions: Sequence[Condition]
) -> tuple[dict[str, Observation], dict[str, Values]]:
    """Every candidate as `compare` observes it, and its discriminant by condition, shape (N,) each: both are linear in
    the references, so one matrix product a member gives the references' own, and their means are the candidates'."""
    require_same_members(templates.embeddings, frames)
    glasses = templates.glasses
    observed, told = {}, {condition.name: np.full(len(glasses), condition.offset) for condition in conditions}
    for name, probes in frames.items():
        references = templates.embeddings[name]
        require_comparable(name, references, probes)
        directions = {c.name: direction for c in conditions if (direction := c.direction(name)) is not None}
        others = np.stack([probes.vectors.astype(np.float64).mean(0), *directions.values()])
        products, *values = _products(references.vectors, others).T
        for condition, value in zip(directions, values, strict=True):
            told[condition] += value
        cosines = templates.means(products)
        shorter = np.minimum.outer(references.norms.astype(np.float64), probes.norms.astype(np.float64))
        require_finite(name, cosines, shorter)
        observed[name] = Observation(np.clip(cosines, -1, 1), templates.means(np.log(shorter).mean(1)))
    return observed, {c.name: templates.means(c.with_pixels(told[c.name], glasses)) for c in conditions}
