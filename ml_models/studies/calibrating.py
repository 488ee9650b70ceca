"""Fit a version's numbers on labelled pictures, and write them into the draft or its file."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..engine.fuse import Fusion
from ..evaluation.calibration import fitting
from ..evaluation.calibration.rules import CannotCalibrate
from ..evaluation.lists.pairs import subject_hashes
from ..evaluation.scoring import Labelled, score
from ..evaluation.study import Study, acquired, cells
from ..exceptions import ConfigChanged
from ..models import EnsembleConfig
from ..versions import files, numbers
from . import identifying
from .pictures import Sources, Watcher, prepare


def calibrate(config: EnsembleConfig, sources: Sources, watcher: Watcher, output: Path | None = None) -> dict[str, Any]:
    """Fit members, voter sets, thresholds, conditions and the thresholds for rosters; see
    `evaluation.calibration.fitting` and `evaluation.identification`.

    A draft gets the numbers; with `output` they are written into a copy of its ensemble file.

    Returns: the object of `calibrate --json`.

    Raises:
        ConfigChanged: the version is no draft, and no output is given.
        PairListRefused, CannotCalibrate: no honest numbers can come of these pictures.
    """
    draft = config.state == EnsembleConfig.State.DRAFT
    if not draft and output is None:
        raise ConfigChanged(f"Version {config.version} is {config.state} and cannot change: give an --output FILE.")
    study, stressed = prepare(config, sources, watcher)
    labelled = acquired([study, *stressed.values()])
    attempts = cells(study, stressed)
    watcher.say("fitting")
    fusion = fitting.fit(
        numbers.members(config), labelled, config.target_fmr, [attempt.labelled for _, attempt in attempts]
    )
    fitted: dict[str, Any] = numbers.to_json(fusion)
    fitted["identification"] = identifying.fit(config, fusion, study)
    people = {**_calibrated_on(study), "weights": files.weights_of(files.export(config))}
    if draft:
        numbers.store(config, fitted, people)
    if output:
        write_file(output, _content(config, fitted, people))
    names = [_named(name, under) for under in ("", *stressed) for name in study.listed.names]
    return {
        "config": config.version,
        "target_fmr": config.target_fmr,
        "lists": [
            _realised(fusion, name, item)
            for name, item in zip(names, labelled, strict=True)
            # of a short list perhaps nobody is left whose two pictures are under one design
            if item.comparisons.same.any() and not item.comparisons.same.all()
        ],
        "cells": [
            {"references": attempt.references, "frames": attempt.frames}
            | _realised(fusion, _named(attempt.labelled.name, under), attempt.labelled)
            for under, attempt in attempts
        ],
        "failures": study.embedded.failures(range(len(study.embedded.codes))),
        **fitted,
        "stored": draft,
        "output": output and str(output),
    }


def calibrate_identification(
    config: EnsembleConfig, sources: Sources, watcher: Watcher, output: Path
) -> dict[str, Any]:
    """Fit the thresholds for rosters alone, to a version's other numbers as they are, into a copy of its file.

    Raises:
        PairListRefused, CannotCalibrate: no honest numbers can come of these pictures.
    """
    fusion = numbers.fusion(config)
    study, _ = prepare(config, replace(sources, stresses=()), watcher)
    watcher.say("fitting")
    block = identifying.fit(config, fusion, study)
    if not block:
        raise CannotCalibrate("There are too few people in these lists for thresholds by the roster's size.")
    write_file(output, files.normalised({**files.export(config), "identification": block}))
    return {"config": config.version, "identification": block, "output": str(output)}


def _calibrated_on(study: Study) -> dict[str, Any]:
    sides = [side for c in study.all_pairs.lists for side in (c.subject_a, c.subject_b)]
    used = np.unique(np.concatenate(sides))
    return {
        "subjects": subject_hashes(study.listed.subjects[i] for i in used),
        "lists": list(study.listed.names),
    }


def _named(name: str, under: str) -> str:
    return f"{name} ({under})" if under else name


def _realised(fusion: Fusion, name: str, item: Labelled) -> dict[str, Any]:
    matched, c = score(fusion, item).margin >= 0, item.comparisons
    return {
        "name": name,
        "subjects": len(np.union1d(c.subject_a, c.subject_b)),
        "mated": int(c.same.sum()),
        "non_mated": int((~c.same).sum()),
        "fmr": float(matched[~c.same].mean()),
        "fnmr": float((~matched[c.same]).mean()),
    }


def _content(config: EnsembleConfig, fitted: dict[str, Any], people: dict[str, Any]) -> dict[str, Any]:
    content = files.export(config)
    for member in content["members"]:
        member["calibration"] = fitted["members"].get(member["artifact"])  # none without a vote
    rules = {name: fitted[name] for name in ("voter_sets", "conditions", "identification")}
    return files.normalised({**content, **rules, "calibrated_on": people})


def write_file(path: Path, content: dict[str, Any]) -> None:
    """The ensemble file, keeping the comment that a file of this name begins with."""
    head = re.match(r"(#.*\n)*", path.read_text()) if path.exists() else None
    path.write_text((head.group() if head else "") + files.dump(content))
