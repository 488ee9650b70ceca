"""The figures of a report, from one evaluation of a version."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..attempts import Attempts
from ..lists.pairs import Pool, subject_hashes
from ..rates.intervals import Subjects
from ..rates.systems import TAR_IN_TABLES, Systems, row
from ..scoring import Labelled
from ..study import Scores, Study, cells, failure_rate, measure
from . import slices
from .details import details

Scorer = Callable[[Sequence[Labelled]], Scores]
"""Scores comparisons, list by list: with the version's own numbers, or with numbers fitted on other people."""


@dataclass(frozen=True, slots=True)
class Report:
    """`data` is what `--json` prints. `draws` are the bootstrap's rates of the fused decision (`System.draws`): with
    them two versions measured on the same `list_digest` can be compared. `subjects` are hashes of who was measured."""

    data: dict[str, Any]
    draws: dict[str, list[float | None]]
    list_digest: str
    subjects: list[str]


def build(
    study: Study,
    rated: Pool,
    score: Scorer,
    threshold: float | None,
    target_fmr: float,
    stressed: Mapping[str, Study],
) -> Report:
    """Measure a version on one study.

    Args:
        rated: the study's pool on which error rates are counted: all pairs, or those listed.
        score: gives every comparison its score.
        threshold: of the full voter set, to be shown; None where it differed by part.
        target_fmr: sets each member's own threshold in the tables of slices and stresses.
        stressed: by the stress's name, the same study under it; see `studies.pictures.prepare`.
    """

    def rated_of(other: Study) -> Scores:
        return score(other.labelled(other.all_pairs if rated is study.all_pairs else other.listed))

    compared, listed = rated_of(study), score(study.labelled(study.listed))
    subjects = Subjects(len(study.listed.subjects))
    each = Systems.each(compared, subjects)
    systems = Systems.together(each)
    thresholds = systems.thresholds(target_fmr)
    data = {
        **measure(study, each, systems, Systems.each(listed, subjects), threshold),
        "member_thresholds": thresholds,
        **details(systems, study.embedded),
        "slices": slices.table(systems, study.listed, study.embedded, thresholds),
        "stress": [
            {"stress": name, **_stressed(other, scores, thresholds, subjects)}
            for name, other, scores in ((name, other, rated_of(other)) for name, other in stressed.items())
            # of the listed pairs perhaps none is left of which both pictures are under one design
            if any(len(item.comparisons) for item in scores.labelled)
        ],
        "cells": [
            {"under": under, **_cell(cell, score([cell.labelled]), subjects)} for under, cell in cells(study, stressed)
        ],
    }
    draws = systems.fused.draws(TAR_IN_TABLES, 0.0)
    measured = np.union1d(systems.comparisons.subject_a, systems.comparisons.subject_b)
    return Report(
        data,
        {name: [None if np.isnan(x) else round(float(x), 6) for x in values] for name, values in draws.items()},
        study.digest(rated),
        subject_hashes(study.listed.subjects[i] for i in measured),
    )


def _cell(cell: Attempts, scores: Scores, subjects: Subjects) -> dict[str, Any]:
    """The error rates of attempts with several references and frames, at the version's own threshold."""
    systems = Systems.of(scores, 0, subjects)
    fused, same = systems.fused, systems.comparisons.same
    return {
        "list": cell.labelled.name,
        "references": cell.references,
        "frames": cell.frames,
        "subjects": len(np.union1d(systems.comparisons.subject_a, systems.comparisons.subject_b)),
        "mated": int(same.sum()),
        "non_mated": int((~same).sum()),
        "fmr": fused.fmr(0.0) if (~same & systems.acquired).any() else None,
        "fnmr": fused.fnmr(0.0) if (same & systems.acquired).any() else None,
    }


def _stressed(
    study: Study, scores: Scores, thresholds: Mapping[str, float | None], subjects: Subjects
) -> dict[str, Any]:
    systems = Systems.each(scores, subjects)
    by_list = {
        name: _row(study, item, thresholds)
        for name, item in zip(study.listed.names, systems, strict=True)
        if len(item.comparisons)
    }
    if len(systems) == 1:
        return {**by_list[study.listed.names[0]], "lists": {}}
    return {**_row(study, Systems.together(systems), thresholds), "lists": by_list}


def _row(study: Study, systems: Systems, thresholds: Mapping[str, float | None]) -> dict[str, Any]:
    embedded, images = study.stressed_of(systems.comparisons)
    return {
        **row(systems, thresholds, compared=True),
        "fta": failure_rate(study, embedded, systems.subjects, images),
        "failures": embedded.failures(images),
        "frr": systems.fused.frr(0.0),
        "far": systems.fused.far(0.0),
    }
