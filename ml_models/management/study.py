"""The options that `calibrate`, `evaluate` and `evaluate_quality` share: which version, which lists, whose subjects."""

from __future__ import annotations

import os
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from ml_models.evaluation.errors import StudyRefused
from ml_models.evaluation.pictures import stress
from ml_models.studies.pictures import Sources

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
            action="append",
            default=[],
            metavar="FILE",
            help="CSV that says more of a list's subjects or images (named in its first column): age, gender, light. "
            "Slices show them, and what all pictures of a person share makes groups of people, which are compared; "
            "one for each --pairs, - where a list has none, or one for all that share one --images",
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

    def sources(self, options: Mapping[str, Any]) -> Sources:
        """What the options say of the pictures."""
        files, folders = options["pairs"], options["images"]
        if len(folders) not in (1, len(files)):
            raise CommandError("Give one --images for every --pairs, or one for all.")
        return Sources(
            list(zip(files, folders * len(files) if len(folders) == 1 else folders, strict=True)),
            attributes=_tables(options["attributes"], len(files), len(folders)),
            part=options["part"],
            crowds=options["crowds"],
            stresses=options["stress"],
            stress_images=options["stress_images"],
            threads=options["threads"],
            cache=options["cache"],
        )


def _tables(named: Sequence[str], lists: int, folders: int) -> list[Path | None]:
    """Each list's table of attributes. Subjects of two folders may have one name, 001 say, and be two people: so one
    table stands for several lists only where these share a folder."""
    if not named:
        return []
    if len(named) not in (lists, 1) or (len(named) < lists and folders > 1):
        raise CommandError(
            "Give one --attributes for every --pairs, - where a list has none, or one for all that share one --images."
        )
    tables = [None if name == "-" else Path(name) for name in named]
    return tables * lists if len(tables) < lists else tables
