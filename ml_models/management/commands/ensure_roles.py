from typing import Any

from django.core.management.base import CommandError

from ml_models.management.base import MlCommand
from ml_models.services import roles


class Command(MlCommand):
    help = """Make the groups Kiosk, Door, Enrolment desk, Operator, Approver and Auditor, with the rights they need.

Run it after migrate, which makes the rights, and again after an upgrade: what a group lacks is added, nothing is
taken away. Put accounts into groups in the panel; whoever works there needs "Staff status" besides."""

    def run(self, **options: Any) -> dict[str, Any]:
        try:
            changed = roles.ensure()
        except LookupError as error:
            raise CommandError(str(error)) from error
        return {"changed": [name for name, is_changed in changed.items() if is_changed]}

    def show(self, result: dict[str, Any]) -> None:
        for name in roles.ROLES:
            self.stdout.write(f"{name}: {'changed' if name in result['changed'] else 'as it should be'}")
