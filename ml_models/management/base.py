"""What the commands share: errors with a code, one JSON object on stdout, progress on stderr."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ml_models.engine.errors import EngineError
from ml_models.exceptions import ConfigInvalid, ServiceError

DEMO_PACK = Path(__file__).resolve().parents[1] / "demo_pack"
"""The catalogue of known model files and the ensembles over them: what `config/` has, also where only the wheel is."""


class MlCommand(BaseCommand):
    """A command whose `run` does the work and returns the object that --json prints; `show` prints it for people."""

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        return super().create_parser(prog_name, subcommand, formatter_class=RawDescriptionHelpFormatter, **kwargs)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            result = self.run(**options)
        except ConfigInvalid as error:
            raise CommandError(f"{error.code}:\n" + "\n".join(f"- {reason}" for reason in error.reasons)) from error
        except (ServiceError, EngineError) as error:
            raise CommandError(f"{error.code}: {error}") from error
        except UnicodeDecodeError as error:
            raise CommandError(
                f"file_unusable: A file that was given is no text in UTF-8, from its byte {error.start} on. Save it so."
            ) from error
        except OSError as error:
            if (error.errno or 0) <= 0 or isinstance(error, ConnectionError | TimeoutError):
                raise  # of no file: a resolver's numbers are negative
            where = f"{error.filename}: " if error.filename else ""
            raise CommandError(
                f"file_unusable: {where}{error.strerror}. Check the path, its rights and the disk's free space."
            ) from error
        if options["json"]:
            self.stdout.write(json.dumps(result, indent=2, default=str))
        else:
            self.show(result)

    def run(self, **options: Any) -> dict[str, Any]:
        raise NotImplementedError(f"{type(self).__module__} has no run()")

    def show(self, result: dict[str, Any]) -> None:
        for key, value in result.items():
            self.stdout.write(f"{key}: {value}")

    def say(self, text: str) -> None:
        """A line of progress, on stderr."""
        self._tell(text)

    def _tell(self, text: str, ending: str = "\n") -> None:
        # Django's stderr is red: for errors, which progress is not
        self.stderr.write(text, style_func=str, ending=ending)

    def progress(self, what: str) -> Callable[[int, int], None]:
        """A callback (done, total) that draws a bar on a terminal's stderr, and says each tenth elsewhere."""
        shown = -1

        def report(done: int, total: int) -> None:
            nonlocal shown
            percent = 100 * done // max(total, 1)
            if percent == shown or (not sys.stderr.isatty() and percent // 10 == shown // 10):
                return
            shown = percent
            if sys.stderr.isatty():
                bar = ("█" * (percent // 4)).ljust(25, "░")
                self._tell(f"\r{what} {bar} {percent:3d} %", ending="\n" if done >= total else "")
            else:
                self._tell(f"{what} {percent} %")

        return report
