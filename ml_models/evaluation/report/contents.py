"""Everything that one evaluation says of a version."""

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
"""Scores comparisons, list by list: by a version's own numbers, or by numbers fitted on other people."""


@dataclass(frozen=True, slots=True)
class Report:
    """`data` is what `--json` prints; `draws` are `System.draws` of the fused decision, so that
    two versions measured on the same `list_digest` can be compared; `subjects` are hashes of who was measured."""

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
        rated: which of the study's pools error rates are counted on.
        threshold: of the full voter set, for the reader; None where it differed by part.
        target_fmr: at which members get the thresholds that slices and stress tables use.
        stressed: the same study with its probes under a stress, by the stress's name.
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
            {"stress": name, **_stressed(other, rated_of(other), thresholds, subjects)}
            for name, other in stressed.items()
        ],
        "cells": [
            {"under": under, **_cell(cell, score([cell.labelled]), subjects)} for under, cell in cells(study, stressed)
        ],
    }
    draws = systems.fused.draws(TAR_IN_TABLES, 0.0)
    used = np.union1d(systems.comparisons.subject_a, systems.comparisons.subject_b)
    return Report(
        data,
        {name: [None if np.isnan(x) else round(float(x), 6) for x in values] for name, values in draws.items()},
        study.digest(rated),
        subject_hashes(study.listed.subjects[i] for i in used),
    )


def _cell(cell: Attempts, scores: Scores, subjects: Subjects) -> dict[str, Any]:
    """Attempts of several references and frames, at the version's own threshold."""
    systems = Systems.of(scores, 0, subjects)
    decided, same = systems.fused, systems.comparisons.same
    return {
        "list": cell.labelled.name,
        "references": cell.references,
        "frames": cell.frames,
        "subjects": len(np.union1d(systems.comparisons.subject_a, systems.comparisons.subject_b)),
        "mated": int(same.sum()),
        "non_mated": int((~same).sum()),
        "fmr": decided.fmr(0.0) if (~same & systems.acquired).any() else None,
        "fnmr": decided.fnmr(0.0) if (same & systems.acquired).any() else None,
    }


def _stressed(
    study: Study, scores: Scores, thresholds: Mapping[str, float | None], subjects: Subjects
) -> dict[str, Any]:
    systems = Systems.each(scores, subjects)
    each = [_under(study, item, thresholds) for item in systems]
    if len(each) == 1:
        return {**each[0], "lists": {}}
    lists = dict(zip(study.listed.names, each, strict=True))
    return {**_under(study, Systems.together(systems), thresholds), "lists": lists}


def _under(study: Study, systems: Systems, thresholds: Mapping[str, float | None]) -> dict[str, Any]:
    probes = np.unique(systems.comparisons.b)
    embedded = study.probes or study.embedded
    decided = systems.fused
    return {
        **row(systems, thresholds, compared=True),
        "fta": failure_rate(study, embedded, systems.subjects, probes),
        "failures": embedded.failures(probes),
        "frr": decided.frr(0.0),
        "far": decided.far(0.0),
    }
