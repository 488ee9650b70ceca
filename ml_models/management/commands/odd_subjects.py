from typing import Any
from uuid import UUID

from django.core.management.base import CommandError

from ml_models import services
from ml_models.management.base import MlCommand
from ml_models.services import subject_ids


class Command(MlCommand):
    help = """List and erase the subjects whose ids break the rule.

A subject's id has 1 to 200 characters, no control character, no blank at its ends, and no part between slashes that is
empty, "." or "..". Subjects that were enrolled before there was the rule may have another one. They cannot be verified,
read or erased over REST any more: list them, enrol the people again under ids of the rule, and erase the old ones.

  list              each with its row, its id (control characters escaped), its references and what is wrong with it
  erase ROW …       these rows, with their chips and the embeddings of every version; as `DELETE subjects/{id}` does, it
                    leaves a tombstone and sends the signal subject_erased
  erase --all       every one that `list` lists"""

    def add_arguments(self, parser: Any) -> None:
        super().add_arguments(parser)
        parser.add_argument("action", choices=["list", "erase"], metavar="list|erase")
        parser.add_argument("rows", nargs="*", type=UUID, metavar="ROW", help="with erase: as `list` shows it")
        parser.add_argument("--all", action="store_true", help="with erase: every one that `list` lists")

    def run(self, **options: Any) -> dict[str, Any]:
        if options["action"] == "list":
            return {"subjects": [_shown(subject, reason) for subject, reason in subject_ids.odd()]}
        if bool(options["rows"]) == options["all"]:
            raise CommandError("Name the rows to erase, or all of them with --all.")
        odd = [subject.pk for subject, _ in subject_ids.odd()]
        rows = odd if options["all"] else options["rows"]
        if others := set(rows) - set(odd):
            raise CommandError(f"Nothing was erased: no id breaks the rule at {', '.join(map(str, sorted(others)))}.")
        references, report = 0, self.progress("erasing")
        for done, pk in enumerate(rows, 1):
            references += services.erase_row(services.NOBODY, pk)
            report(done, len(rows))
        return {"subjects_erased": len(rows), "references_erased": references}

    def show(self, result: dict[str, Any]) -> None:
        if "subjects" not in result:
            return super().show(result)
        for subject in result["subjects"]:
            self.stdout.write("{row}  {subject_id}  {references} references: {reason}".format(**subject))
        self.stdout.write(f"{len(result['subjects'])} subjects have an id that breaks the rule")
        return None


def _shown(subject: Any, reason: str) -> dict[str, Any]:
    return {
        "row": str(subject.pk),
        "subject_id": ascii(subject.subject_id),
        "references": subject.references.count(),
        "reason": reason,
    }
