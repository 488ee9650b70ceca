from django.apps import AppConfig

from . import conf


class MlModelsConfig(AppConfig):
    name = "ml_models"
    verbose_name = "Face verification"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import checks, runtime  # noqa: F401 - the import registers the checks

        if conf.get("AUTOSTART"):
            runtime.start()
