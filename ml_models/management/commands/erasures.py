import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from ml_models.management.base import MlCommand
from ml_models.services import tombstones


class Command(MlCommand):
    help = """Carry erasures past a backup.

A backup brings back whoever was erased after it was made. So keep the tombstones elsewhere too: export them regularly,
and after restoring a backup replay the latest export, before the service is started again.

  export [--since TIME]   tombstones as JSON lines on stdout: keyed hashes and times, never an id, a name or who erased
  replay FILE             erase again what FILE says was erased, where it was made before; "-" reads stdin. Whoever was
                          enrolled anew since stays, and a second time does nothing. The keys that the hashes were made
                          with must be in the keyset, or nothing is erased"""

    def add_arguments(self, parser: Any) -> None:
        super().add_arguments(parser)
        parser.add_argument("action", choices=["export", "replay"], metavar="export|replay")
        parser.add_argument("file", nargs="?", metavar="FILE", help="with replay: an export")
        parser.add_argument("--since", type=_time, metavar="TIME", help="with export: 2026-11-25T00:00:00+00:00, say")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["action"] == "replay":
            super().handle(*args, **options)
            return
        for line in tombstones.export(options["since"]):
            self.stdout.write(json.dumps(line))

    def run(self, **options: Any) -> dict[str, Any]:
        if not options["file"]:
            raise CommandError("Name the export to replay, or - for stdin.")
        try:
            lines = sys.stdin if options["file"] == "-" else Path(options["file"]).read_text().splitlines()
        except OSError as error:
            raise CommandError(f"The export cannot be read: {error.strerror}.") from error
        replayed = tombstones.replay(lines, self.progress("looking for who was erased"))
        return {
            "subjects_erased": replayed.subjects,
            "references_erased": replayed.references,
            "tombstones_added": replayed.tombstones,
        }


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError("a time needs its zone")
    return time
