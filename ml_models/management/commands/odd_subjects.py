from typing import Any
from uuid import UUID

from django.core.management.base import CommandError

from ml_models import services
from ml_models.management.base import MlCommand
from ml_models.services import groups, subject_ids


class Command(MlCommand):
    help = """List and erase the subjects and groups whose ids break the rule.

An id has 1 to 200 characters, no control character, no blank at its ends, and no part between slashes that is empty,
"." or "..". What was stored before there was the rule may have another one, and cannot be asked for, read or erased
over REST any more: list it, enrol the people and make the groups again under ids of the rule, and erase the old ones.
A member of a group goes with the next PUT of the group.

  list              each with its row, its id (control characters escaped), its references or members, and what is
                    wrong with it
  erase ROW …       these rows: subjects with their chips and the embeddings of every version, groups with the list of
                    their members. As `DELETE subjects/{id}` does, it leaves a tombstone of a subject and sends the
                    signal subject_erased
  erase --all       every one that `list` lists"""

    def add_arguments(self, parser: Any) -> None:
        super().add_arguments(parser)
        parser.add_argument("action", choices=["list", "erase"], metavar="list|erase")
        parser.add_argument("rows", nargs="*", type=UUID, metavar="ROW", help="with erase: as `list` shows it")
        parser.add_argument("--all", action="store_true", help="with erase: every one that `list` lists")

    def run(self, **options: Any) -> dict[str, Any]:
        if options["action"] == "list":
            return {
                "subjects": [_subject(subject, reason) for subject, reason in subject_ids.odd()],
                "groups": [_group(group, reason) for group, reason in subject_ids.odd_groups()],
            }
        if bool(options["rows"]) == options["all"]:
            raise CommandError("Name the rows to erase, or all of them with --all.")
        odd_groups = {group.pk for group, _ in subject_ids.odd_groups()}
        odd = [*(subject.pk for subject, _ in subject_ids.odd()), *odd_groups]
        rows = odd if options["all"] else options["rows"]
        if others := set(rows) - set(odd):
            raise CommandError(f"Nothing was erased: no id breaks the rule at {', '.join(map(str, sorted(others)))}.")
        references, report = 0, self.progress("erasing")
        for done, pk in enumerate(rows, 1):
            if pk in odd_groups:
                groups.erase_row(services.NOBODY, pk)
            else:
                references += services.erase_row(services.NOBODY, pk)
            report(done, len(rows))
        of_groups = len(odd_groups.intersection(rows))
        return {
            "subjects_erased": len(rows) - of_groups,
            "references_erased": references,
            "groups_erased": of_groups,
        }

    def show(self, result: dict[str, Any]) -> None:
        if "subjects" not in result:
            return super().show(result)
        for subject in result["subjects"]:
            self.stdout.write("{row}  {subject_id}  {references} references: {reason}".format(**subject))
        for group in result["groups"]:
            self.stdout.write("{row}  {group_id}  {members} members: {reason}".format(**group))
        counts = f"{len(result['subjects'])} subjects and {len(result['groups'])} groups"
        self.stdout.write(f"{counts} have an id that breaks the rule")
        return None


def _subject(subject: Any, reason: str) -> dict[str, Any]:
    return _shown(subject, reason, subject_id=ascii(subject.subject_id), references=subject.references.count())


def _group(group: Any, reason: str) -> dict[str, Any]:
    return _shown(group, reason, group_id=ascii(group.group_id), members=group.memberships.count())


def _shown(row: Any, reason: str, **what: Any) -> dict[str, Any]:
    return {"row": str(row.pk), **what, "reason": reason}
