"""What `calibrate` and `evaluate` share: which version, which lists, whose subjects; images embedded once."""

from __future__ import annotations

import math
import os
from argparse import ArgumentParser, ArgumentTypeError
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from ml_models import selectors
from ml_models.evaluation import embedding, fitting, pairs, versions
from ml_models.evaluation.pairs import EvidenceRefused
from ml_models.evaluation.study import Study
from ml_models.models import EnsembleConfig

from .base import MlCommand


def part(text: str) -> tuple[int, int]:
    """`2/5` → (2, 5)."""
    number, _, count = text.partition("/")
    if not (number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
        raise ArgumentTypeError(f"{text} is not a part like 1/2")
    return int(number), int(count)


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
        except EvidenceRefused as error:
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
        lists = [pairs.read(file, folder) for file, folder in zip(options["pairs"], folders, strict=True)]
        listed = pairs.pool(lists)
        for warning in listed.warnings:
            self.say(warning)
        pipeline, limits = versions.pipeline(config), selectors.quality_limits(config, "verify")
        anybody = replace(limits, bystander_ratio=math.inf)
        digest = f"{versions.pipeline_digest(config)} {options['crowds']}"
        cache = options["cache"] and embedding.VectorCache(options["cache"], digest)
        embedded = embedding.embed(
            listed.images,
            lambda data: pipeline.extract(data, limits),
            list(pipeline.members),
            crowd=(lambda data: pipeline.extract(data, anybody)) if options["crowds"] == "largest" else None,
            threads=options["threads"],
            progress=self.progress("embedding"),
            cache=cache,
        )
        study = Study(listed, pairs.pool([item.all_pairs() for item in lists]), embedded)
        if options["part"]:
            number, count = options["part"]
            study = study.of_subjects(fitting.parts(listed.subjects, count) == number - 1)
        if any(not c.same.any() or c.same.all() for c in study.listed.lists):
            raise pairs.PairListRefused("one_class", "In this part a list has not both mated and non-mated pairs.")
        return study
