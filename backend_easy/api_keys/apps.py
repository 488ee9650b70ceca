from django.apps import AppConfig


class ApiKeysConfig(AppConfig):
    name = "backend_easy.api_keys"
    verbose_name = "API keys"

    def ready(self) -> None:
        from . import schema  # noqa: F401 - the import tells OpenAPI about the header
