from typing import Any

from ml_models import services
from ml_models.management.base import MlCommand
from ml_models.services import lockout, subject_ids


class Command(MlCommand):
    help = """Lift a lock-out before its time.

  subject ID      the lock of a subject, and the waits of credentials for it: a person on the spot knows who it
                  is. The counts begin anew; whoever guesses on is locked out longer than before
  credential ID   the slowing of a credential that failed too many people ("key:4f1c…", as the signal
                  credential_suspected and the panel name it), once its camera is mended. Revoke a stolen key instead

A second run releases nothing."""

    def add_arguments(self, parser: Any) -> None:
        super().add_arguments(parser)
        parser.add_argument("what", choices=["subject", "credential"], metavar="subject|credential")
        parser.add_argument("id", metavar="ID")

    def run(self, **options: Any) -> dict[str, Any]:
        subject_ids.require(options["id"], options["what"])
        release = lockout.release if options["what"] == "subject" else lockout.release_credential
        return {"released": release(services.NOBODY, options["id"])}

    def show(self, result: dict[str, Any]) -> None:
        self.stdout.write("released" if result["released"] else "there was nothing to lift")
