from typing import Any

from django.core.management.base import CommandError

from ml_models import conf, crypto
from ml_models.management.base import MlCommand
from ml_models.services import rotation


class Command(MlCommand):
    help = """Re-encrypt every chip and vector that is not under the primary key, or not bound to its subject.

Add a key to ML_MODELS_KEYSET, make it the primary one, restart the processes, then run this; serving goes on
meanwhile. It may be stopped and begun again at any time, and a second run does nothing. When it has left nothing over,
the old key may go, and with it the answer to whether somebody was erased while it was the primary one."""

    def run(self, **options: Any) -> dict[str, Any]:
        done, unreadable = rotation.rotate(self.progress("re-encrypting"))
        for row in unreadable:
            self.say(f"no key opens {row}")
        left = rotation.left()
        if unreadable:
            raise CommandError(f"{done} re-encrypted; {len(unreadable)} cannot be opened by any key: keep them all.")
        if not left and conf.get("BINDING") == "bind":
            self.say('Everything is bound to its subject: set ML_MODELS["BINDING"] to "require".')
        return {"primary": crypto.provider().primary, "rotated": done, "left": left}
