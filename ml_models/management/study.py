"""What `calibrate` and `evaluate` share: which version, which lists, whose subjects; images embedded once."""

from __future__ import annotations

import math
import os
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from django.core.management.base import CommandError
from numpy.typing import NDArray

from ml_models.engine.quality import QualityLimits
from ml_models.engine.types import Extraction
from ml_models.evaluation.calibration import cross_validation
from ml_models.evaluation.lists import pairs
from ml_models.evaluation.lists.pairs import Comparisons, StudyRefused
from ml_models.evaluation.pictures import embedding, stress
from ml_models.evaluation.pictures.embedding import Embedded, Progress, spread
from ml_models.evaluation.study import Study
from ml_models.models import EnsembleConfig
from ml_models.studies import loading
from ml_models.versions import numbers

from .base import MlCommand


def part(text: str) -> tuple[int, int]:
    """`2/5` → (2, 5)."""
    number, _, count = text.partition("/")
    if not (number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
        raise ArgumentTypeError(f"{text} is not a part like 1/2")
    return int(number), int(count)


def stresses(text: str) -> list[str]:
    names = list(stress.STRESSES) if text == "all" else text.split(",")
    if unknown := sorted(set(names) - set(stress.STRESSES)):
        raise CommandError(f"There is no stress {', '.join(unknown)}; there are {', '.join(stress.STRESSES)}.")
    return names


class StudyCommand(MlCommand):
    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--config", type=int, required=True, metavar="VERSION")
        parser.add_argument(
            "--pairs",
            type=Path,
            action="append",
            required=True,
            metavar="FILE",
            help="CSV (same,a,b and maybe fold), LFW's pairs.txt, or CFP's Protocol/Split/FF or FP; may be repeated",
        )
        parser.add_argument(
            "--images",
            type=Path,
            action="append",
            required=True,
            metavar="DIR",
            help="the folder that the list's paths are relative to; one for each --pairs, or one for all",
        )
        parser.add_argument(
            "--attributes",
            type=Path,
            metavar="FILE",
            help="CSV that says more of subjects or images (named in its first column), for slices",
        )
        parser.add_argument(
            "--part",
            type=part,
            metavar="I/K",
            help="only the subjects of part I of K; a subject is always in the same part, whatever the list",
        )
        parser.add_argument(
            "--crowds",
            choices=("largest", "refuse"),
            default="largest",
            help="of a picture with several faces take the largest, whom benchmarks of press photographs mean, and say "
            "how many the service would have refused (the default); or count it as a failure to acquire",
        )
        parser.add_argument(
            "--stress",
            type=stresses,
            nargs="?",
            const="all",
            default=[],
            metavar="NAMES",
            help=f"also with each pair's second picture under: all, or some of {', '.join(stress.STRESSES)}",
        )
        parser.add_argument(
            "--stress-images",
            type=int,
            metavar="N",
            help="under a stress take at most so many of a list's pictures (calibrate: 200 by default; evaluate: all)",
        )
        parser.add_argument("--threads", type=int, default=os.cpu_count(), help="default: one a core")
        parser.add_argument(
            "--cache",
            type=Path,
            metavar="DIR",
            help="keep the vectors here, so that a long run can be resumed. They are biometric: delete them after",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            super().handle(*args, **options)
        except StudyRefused as error:
            raise CommandError(f"{error.code}: {error}") from error

    def study(self, config: EnsembleConfig, options: dict[str, Any]) -> Study:
        """Read the lists and embed their images.

        Raises:
            PairListRefused: a list no honest figure can come from.
        """
        folders = options["images"]
        if len(folders) not in (1, len(options["pairs"])):
            raise CommandError("Give one --images for every --pairs, or one for all.")
        folders = folders * len(options["pairs"]) if len(folders) == 1 else folders
        lists = [
            pairs.read(file, folder, options["attributes"])
            for file, folder in zip(options["pairs"], folders, strict=True)
        ]
        listed, everything = pairs.pool(lists), pairs.pool([item.all_pairs() for item in lists])
        if options["part"]:
            number, count = options["part"]
            wanted = cross_validation.parts(listed.subjects, count) == number - 1
            listed, everything = listed.of_subjects(wanted), everything.of_subjects(wanted)
        for warning in listed.warnings:
            self.say(warning)
        if any(not c.same.any() or c.same.all() for c in listed.lists):
            raise pairs.PairListRefused("one_class", "In this part a list has not both mated and non-mated pairs.")
        self.engine, self.stress_images = Engine(config, options), options["stress_images"]
        used = np.union1d(listed.used(), everything.used())
        found = self.engine.embed([listed.images[i] for i in used], self.progress("embedding"))
        return Study(listed, everything, embedding.spread(found, used, len(listed.images)))

    def under(self, study: Study, name: str) -> Study:
        """The study with its second pictures under a stress; of a list with more than --stress-images, some that have
        a mate, drawn by a fixed seed, and only the comparisons with them."""
        pools = (study.all_pairs,) if self.stress_images else (study.all_pairs, study.listed)
        at = np.unique(np.concatenate([self._drawn(c) for pool in pools for c in pool.lists]))
        if self.stress_images:
            study = study.of_seconds(at)
        images = [study.listed.images[i] for i in at]
        found = self.engine.embed(images, self.progress(f"embedding under {name}"), under=name)
        return study.under(spread(found, at, len(study.listed.images)), stress.CONDITIONS.get(name, ""))

    def _drawn(self, c: Comparisons) -> NDArray[np.int32]:
        seconds = np.unique(c.b)
        if not self.stress_images or len(seconds) <= self.stress_images:
            return seconds
        return np.random.default_rng(0).permutation(np.unique(c.b[c.same]))[: self.stress_images]


class Engine:
    """A version's own pipeline, for many pictures, clean or under a stress."""

    def __init__(self, config: EnsembleConfig, options: dict[str, Any]) -> None:
        self._options = options
        self._pipeline = loading.pipeline(config)
        self._limits = numbers.quality_limits(config, "verify")
        self._digest = f"{numbers.pipeline_digest(config)} {options['crowds']}"

    def embed(self, images: Sequence[Path], progress: Progress, under: str = "") -> Embedded:
        """Embed every image once; `under` is the stress, none by default."""

        def extract(data: bytes, limits: QualityLimits) -> Extraction:
            if under:
                data = stress.apply(under, data, self._pipeline.detector)
            return self._pipeline.extract(data, limits)

        anybody = replace(self._limits, bystander_ratio=math.inf)
        changed = f" {under} {stress.SEED} {stress.REVISION}" if under else ""
        folder = self._options["cache"]
        return embedding.embed(
            images,
            lambda data: extract(data, self._limits),
            list(self._pipeline.members),
            crowd=(lambda data: extract(data, anybody)) if self._options["crowds"] == "largest" else None,
            threads=self._options["threads"],
            progress=progress,
            cache=folder and embedding.VectorCache(folder, self._digest + changed),
        )
