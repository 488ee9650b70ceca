import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError
from django.utils.dateparse import parse_date, parse_datetime

from ml_models.management.base import MlCommand
from ml_models.services import trail


def _since(text: str) -> datetime:
    day = parse_date(text) if len(text) == len("2026-01-31") else None
    moment = datetime(day.year, day.month, day.day, tzinfo=UTC) if day else parse_datetime(text)
    if moment is None:
        raise ValueError(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class Command(MlCommand):
    help = """Look after the audit trail.

  verify   is every event there, as it was written, in its place? Exit code 1 where not, with what is wrong
  export   the trail on stdout, one JSON object a line; the last line is the head
  head     the chain's end alone: keep it where nobody who can write to the database can

Without --head a cut tail cannot be seen: a trail that ends earlier is a whole trail, too."""

    def add_arguments(self, parser: Any) -> None:
        super().add_arguments(parser)
        parser.add_argument("action", choices=["verify", "export", "head"], metavar="verify|export|head")
        parser.add_argument(
            "--head", type=Path, metavar="FILE", help="with verify: what `head` or `export` printed once"
        )
        parser.add_argument(
            "--since", type=_since, metavar="TIME", help="with export: events from then on, ISO 8601, UTC by default"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["action"] != "export":
            super().handle(*args, **options)
            return
        for line in trail.export(options["since"]):
            self.stdout.write(json.dumps(line))

    def run(self, **options: Any) -> dict[str, Any]:
        if options["action"] == "head":
            return asdict(trail.head())
        verdict = trail.verify(_read(options["head"]) if options["head"] else None)
        if verdict.problems:
            raise CommandError("The audit trail is not whole:\n" + "\n".join(f"- {p}" for p in verdict.problems))
        return asdict(verdict)

    def show(self, result: dict[str, Any]) -> None:
        if "problems" not in result:  # the head, in the form that --head reads
            self.stdout.write(json.dumps(result))
            return
        self.stdout.write(f"{result['events']} events to sequence {result['sequence']}, all as they were written")
        self.stdout.write(
            f"{result['deleted_by_retention']} deleted by retention, {result['unchained']} not chained yet"
        )


def _read(path: Path) -> trail.Head:
    try:
        text = path.read_text().strip()
        try:
            last = json.loads(text)
        except ValueError:  # an export: its last line
            last = json.loads(text.splitlines()[-1])
        return trail.Head(int(last["sequence"]), str(last["digest"]))
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise CommandError(f"{path} is no head: give what `audit head` or `audit export` printed.") from error
