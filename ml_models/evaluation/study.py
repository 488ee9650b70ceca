"""Pair lists whose images were embedded once, and what is measured on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..engine.fuse import Fusion
from . import scoring
from .embedding import Embedded
from .fitting import Labelled
from .metrics import TAR_AT, Rate, Subjects, System
from .pairs import Comparisons, Pool, comparisons_needed, concatenate
from .scoring import Scored, Values


@dataclass(frozen=True, slots=True)
class Study:
    """Lists and their vectors: `listed` as written, `all_pairs` with every image against every other."""

    listed: Pool
    all_pairs: Pool
    embedded: Embedded

    def labelled(self, pool: Pool) -> list[Labelled]:
        acquired, quality = self.embedded.acquired, self.embedded.quality["score"]
        return [
            Labelled(name, c, self.embedded.similarities(c), np.where(acquired[c.a], quality[c.b], np.nan))
            for name, c in zip(pool.names, pool.lists, strict=True)
        ]

    def of_subjects(self, wanted: NDArray[np.bool_]) -> Study:
        """Only comparisons whose subjects are both wanted; `wanted` has one flag a subject."""

        def kept(pool: Pool) -> Pool:
            lists = tuple(c.take(wanted[c.subject_a] & wanted[c.subject_b]) for c in pool.lists)
            return replace(pool, lists=lists)

        return replace(self, listed=kept(self.listed), all_pairs=kept(self.all_pairs))


@dataclass(frozen=True, slots=True)
class Scores:
    """The comparisons of a pool, list by list: similarities of the members, and the fused score."""

    labelled: list[Labelled]
    fused: list[Scored]

    def within_parts(self) -> Scores:
        """Without the comparisons that cross-validation could not score, as they join two parts."""
        kept = [~np.isnan(scored.score) for scored in self.fused]
        return Scores(
            [item.take(keep) for item, keep in zip(self.labelled, kept, strict=True)],
            [scored.take(keep) for scored, keep in zip(self.fused, kept, strict=True)],
        )


def score_with(fusion: Fusion, labelled: Sequence[Labelled]) -> Scores:
    """Every list scored by one decision rule."""
    return Scores(list(labelled), [scoring.score(fusion, i.similarities, i.quality) for i in labelled])


def measure(study: Study, compared: Scores, listed: Scores, threshold: float | None) -> dict[str, Any]:
    """The report on a version: `subjects`, `images`, `mated`, `non_mated`, `fta`, `failures`, `threshold`,
    `fmr`, `fnmr`, `far`, `frr`, `members`, `fused`, `lists` (the same by list, where there are several),
    `warnings`.

    Args:
        compared: what error rates are counted on.
        listed: the lists' own pairs: an accuracy means something only where mated pairs are about half.
        threshold: of the full voter set, for the reader; None where it differed by part.
    """
    subjects = Subjects(len(study.listed.subjects))
    of_list = [_figures(study, subjects, _one(compared, i), _one(listed, i)) for i in range(len(study.listed.names))]
    several = len(of_list) > 1
    result = _figures(study, subjects, _together(compared), _together(listed)) if several else of_list[0]
    return {
        **result,
        "threshold": threshold,
        "lists": dict(zip(study.listed.names, of_list, strict=True)) if several else {},
        "warnings": [*study.listed.warnings, *_crowds(study), *_too_few(result["non_mated"])],
    }


@dataclass(frozen=True, slots=True)
class _Systems:
    """Comparisons and what every system scores them: members by name, the fused margin and its score."""

    comparisons: Comparisons
    members: dict[str, Values]
    margin: Values
    score: Values


def _one(scores: Scores, index: int) -> _Systems:
    item, fused = scores.labelled[index], scores.fused[index]
    members = {name: np.where(np.isnan(v), -np.inf, v) for name, v in item.similarities.items()}
    return _Systems(item.comparisons, members, fused.margin, fused.score)


def _together(scores: Scores) -> _Systems:
    each = [_one(scores, index) for index in range(len(scores.labelled))]
    comparisons, first = concatenate([systems.comparisons for systems in each])

    def joined(values: Iterable[Values]) -> Values:
        return np.concatenate(list(values))[first]

    members = {name: joined(systems.members[name] for systems in each) for name in each[0].members}
    return _Systems(comparisons, members, joined(s.margin for s in each), joined(s.score for s in each))


def _figures(study: Study, subjects: Subjects, compared: _Systems, listed: _Systems) -> dict[str, Any]:
    comparisons = compared.comparisons

    def of(scores: Values, listed_scores: Values) -> dict[str, Any]:
        system = System(comparisons, scores, subjects)
        return {
            "eer": system.eer(),
            "tar_at_fmr": {f"{fmr:.10f}".rstrip("0"): system.tar_at_fmr(fmr) for fmr in TAR_AT},
            "accuracy": System(listed.comparisons, listed_scores, subjects).accuracy(),
        }

    decided = System(comparisons, compared.margin, subjects)
    used = np.union1d(comparisons.a, comparisons.b)
    return {
        "subjects": len(np.union1d(comparisons.subject_a, comparisons.subject_b)),
        "images": len(used),
        "mated": int(comparisons.same.sum()),
        "non_mated": int((~comparisons.same).sum()),
        "fta": _failure_rate(study, subjects, used),
        "failures": study.embedded.failures(used),
        "fmr": decided.fmr(0.0),
        "fnmr": decided.fnmr(0.0),
        "far": decided.far(0.0),
        "frr": decided.frr(0.0),
        "members": {name: of(scores, listed.members[name]) for name, scores in compared.members.items()},
        "fused": {
            **of(compared.margin, listed.margin),
            "cllr": System(comparisons, compared.score, subjects).cllr(),
        },
    }


def _failure_rate(study: Study, subjects: Subjects, used: NDArray[np.int32]) -> Rate:
    who = study.listed.subject_of[used]
    images = Comparisons(used, used, who, who, np.zeros(len(used), np.int32))
    everyone = np.ones(len(used), bool)
    return System(images, np.zeros(len(used)), subjects).share(~study.embedded.acquired[used], everyone)


def _crowds(study: Study) -> list[str]:
    crowded = int(study.embedded.crowded.sum())
    return (
        [f"In {crowded} images with several faces the largest was taken; the service refuses them."] if crowded else []
    )


def _too_few(non_mated: int) -> list[str]:
    return [
        f"{non_mated} non-mated comparisons bound an FMR at {3 / non_mated:.2g} at best: an FMR of {fmr:g} takes "
        f"{comparisons_needed(fmr)}. Compare all with all (--all-pairs), or bring more people."
        for fmr in TAR_AT
        if non_mated < comparisons_needed(fmr)
    ]
