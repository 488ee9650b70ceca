from dataclasses import asdict
from typing import Any

from ml_models.management.base import MlCommand
from ml_models.services import mixups


class Command(MlCommand):
    help = f"""List the pairs of a group's members who may be one person, for somebody to look at.

Everybody's references are compared with everybody else's, scored as verify does, with the active version's thresholds
for identify. Pairs over the higher one ("match") are what `POST enroll` with this group refuses; pairs between the two
("review") are in doubt, brothers and sisters among them. The likeliest comes first. Of many pairs the likeliest
{mixups.MOST_PAIRS} are listed. Nothing is changed."""

    def add_arguments(self, parser: Any) -> None:
        super().add_arguments(parser)
        parser.add_argument("group", metavar="GROUP", help="the host's id of the group")

    def run(self, **options: Any) -> dict[str, Any]:
        found = asdict(mixups.find(options["group"], self.progress("comparing")))
        pairs = [{"subject_ids": p["subject_ids"], "decision": _DECISION[p["match"]]} for p in found.pop("pairs")]
        return {"group": options["group"], "pairs": pairs, **found}

    def show(self, result: dict[str, Any]) -> None:
        for pair in result["pairs"]:
            self.stdout.write(f"{pair['decision']:<6}  {'  '.join(map(ascii, pair['subject_ids']))}")
        self.stdout.write(
            f"{result['found']} pairs{_only(result)} among {result['compared']} members; not compared: "
            f"{result['not_enrolled']} without a reference, {result['not_embedded']} not embedded yet, "
            f"{result['unusable']} of too poor a quality"
        )


def _only(result: dict[str, Any]) -> str:
    listed = len(result["pairs"])
    return f" (the likeliest {listed} are listed)" if listed < result["found"] else ""


_DECISION = {True: "match", False: "review"}
