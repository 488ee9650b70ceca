"""Which pictures a version is measured on, embedded by its own pipeline: clean, and under stress."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ..engine.quality import QualityLimits
from ..engine.types import Extraction
from ..evaluation.calibration import cross_validation
from ..evaluation.lists import pairs
from ..evaluation.pictures import embedding, stress
from ..evaluation.pictures.embedding import Embedded, Progress, spread
from ..evaluation.study import Study
from ..models import EnsembleConfig
from ..versions import numbers
from . import loading


class Watcher(Protocol):
    """Receives the progress of a long study; every command is one."""

    def say(self, text: str) -> None:
        """A line of progress."""

    def progress(self, what: str) -> Callable[[int, int], None]:
        """A callback (done, total) for one step."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The pictures of a study, and how they are taken.

    `lists`: files of pairs, each with the folder of its pictures. `attributes`: for each list a CSV that says more of
    its subjects or pictures, or None; empty when no list has one. `part`: (I, K), only the subjects of part I of K.
    `crowds`: whether a picture with several faces counts by its largest one or as a failure to acquire. `stresses`:
    names in `evaluation.pictures.stress`. `stress_images`: at most so many of a list's pictures under a stress; None
    for all. `seed`: of what a stress draws. `cache`: a folder that keeps the vectors, which are biometric, so that a
    long run can be resumed. `turn`: entered around each picture, where others compute on this machine, too.
    """

    lists: Sequence[tuple[Path, Path]]
    attributes: Sequence[Path | None] = ()
    part: tuple[int, int] | None = None
    crowds: Literal["largest", "refuse"] = "largest"
    stresses: Sequence[str] = ()
    stress_images: int | None = None
    seed: int = stress.SEED
    threads: int = 1
    cache: Path | None = None
    turn: Callable[[], AbstractContextManager[Any]] = nullcontext


def prepare(config: EnsembleConfig, sources: Sources, watcher: Watcher) -> tuple[Study, dict[str, Study]]:
    """Read the lists and embed their pictures. Returns: the study, and the same under each stress, by its name.

    Raises:
        PairListRefused: a list that no honest figure can come from.
        ArtifactError, ArtifactRejected: the version's networks cannot be had.
    """
    listed, everything = _pools(sources)
    for warning in listed.warnings:
        watcher.say(warning)
    if any(not c.same.any() or c.same.all() for c in listed.lists):
        raise pairs.PairListRefused("one_class", "In this part a list has not both mated and non-mated pairs.")
    engine = _Engine(config, sources)
    used = np.union1d(listed.used(), everything.used())
    embedded = engine.embed([listed.images[i] for i in used], watcher.progress("embedding"))
    study = Study(listed, everything, spread(embedded, used, len(listed.images)))
    under: dict[str, Study] = {}
    for name in sources.stresses:
        under |= _under(study, name, engine, sources, watcher)
    return study, under


def _pools(sources: Sources) -> tuple[pairs.Pool, pairs.Pool]:
    """The lists as written, and every picture of a list against every other."""
    tables = sources.attributes or [None] * len(sources.lists)
    lists = [pairs.read(*files, table) for files, table in zip(sources.lists, tables, strict=True)]
    listed, everything = pairs.pool(lists), pairs.pool([item.all_pairs() for item in lists])
    if sources.part is None:
        return listed, everything
    number, count = sources.part
    wanted = cross_validation.parts(listed.subjects, count) == number - 1
    return listed.of_subjects(wanted), everything.of_subjects(wanted)


def _under(study: Study, name: str, engine: _Engine, sources: Sources, watcher: Watcher) -> dict[str, Study]:
    """The study with its second pictures under a stress; under one of BOTH_SIDES also with its first pictures, and with
    both, of which only pictures under the same design are compared. Of a list with more than `stress_images` pictures
    that have a mate some are drawn, and only comparisons with them are made."""
    drawn = _drawn(study, sources.stress_images)
    images = study.listed.images
    embedded = engine.embed([images[i] for i in drawn], watcher.progress(f"embedding under {name}"), under=name)
    stressed, condition = spread(embedded, drawn, len(images)), stress.CONDITION_UNDER.get(name, "")
    studies = {name: study.of_images(None, drawn).under(stressed, condition)}
    if name in stress.BOTH_SIDES:
        pairs_of_drawn = study.of_images(drawn, drawn)
        design = np.array([stress.design(name, digest) if digest else -1 for digest in stressed.digests], np.int32)
        studies[f"{name}, references"] = pairs_of_drawn.under(stressed, condition, "references")
        studies[f"{name}, both sides"] = pairs_of_drawn.alike(design).under(stressed, condition, "both")
    # of few pictures perhaps no two are under one design
    return {under: one for under, one in studies.items() if any(len(c) for c in one.all_pairs.lists)}


def _drawn(study: Study, most: int | None) -> NDArray[np.int32]:
    """The pictures to be put under a stress: of every list those that are compared, or `most` of those with a mate, the
    first by their sha256, so that lists over common pictures draw the same ones."""
    digests = np.array(study.embedded.digests)
    drawn = []
    for c in study.all_pairs.lists:
        images = np.union1d(c.a, c.b)
        if most and len(images) > most:
            with_mate = np.union1d(c.a[c.same], c.b[c.same])
            images = with_mate[np.argsort(digests[with_mate])][:most]
        drawn.append(images)
    return np.unique(np.concatenate(drawn))


class _Engine:
    """A version's own pipeline, for many pictures, clean or under a stress."""

    def __init__(self, config: EnsembleConfig, sources: Sources) -> None:
        self._sources = sources
        self._pipeline = loading.pipeline(config)
        self._limits = numbers.quality_limits(config, "verify")
        self._digest = f"{numbers.pipeline_digest(config)} {sources.crowds}"

    def embed(self, images: Sequence[Path], progress: Progress, under: str = "") -> Embedded:
        """Embed every image once; `under` is the stress, none by default."""

        def extract(data: bytes, limits: QualityLimits) -> Extraction:
            if under:
                data = stress.apply(under, data, self._pipeline.detector, self._sources.seed)
            with self._sources.turn():
                return self._pipeline.extract(data, limits, examine=False)

        anybody = replace(self._limits, bystander_ratio=math.inf)
        changed = f" {under} {self._sources.seed} {stress.REVISION}" if under else ""
        folder = self._sources.cache
        return embedding.embed(
            images,
            lambda data: extract(data, self._limits),
            list(self._pipeline.members),
            crowd=(lambda data: extract(data, anybody)) if self._sources.crowds == "largest" else None,
            threads=self._sources.threads,
            progress=progress,
            cache=embedding.VectorCache(folder, self._digest + changed) if folder else None,
        )
