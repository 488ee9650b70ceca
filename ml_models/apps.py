import sys
from pathlib import Path

from django.apps import AppConfig

from . import conf


class MlModelsConfig(AppConfig):
    name = "ml_models"
    verbose_name = "Face verification"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import checks, runtime  # noqa: F401 - the import registers the checks
        from .api import request_log
        from .services import rights

        request_log.install()
        rights.watch()
        if conf.get("AUTOSTART") and not _serves_nobody():
            runtime.start()


def _serves_nobody() -> bool:
    """True in a process for `migrate`, `check`, any other command but `runserver`, or the tests' collection."""
    path, command = Path(sys.argv[0]), sys.argv[1:2]
    program = path.parent.name if path.name == "__main__.py" else path.name  # python -m django
    return program == "pytest" or (program in ("manage.py", "django", "django-admin") and command != ["runserver"])
