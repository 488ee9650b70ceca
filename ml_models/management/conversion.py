"""What the conversion commands share: their errors, and a plain word when their packages are not installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from django.core.management.base import CommandError

from ml_models.conversion.errors import ConversionError

from .base import MlCommand

_DETECTOR = "yunet_2023mar"
_PACKAGES = {"torch", "onnx", "safetensors", "tflite", "ai_edge_litert"}


class ConversionCommand(MlCommand):
    """Imports its tools inside `run`: the command can then be listed and explained where they are missing."""

    requires_system_checks: ClassVar[list[str]] = []  # type: ignore[misc]  # works on files; needs no database

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            super().handle(*args, **options)
        except ConversionError as error:
            raise CommandError(f"{error.code}: {error}") from error
        except ModuleNotFoundError as error:
            if error.name is None or error.name.split(".")[0] not in _PACKAGES:
                raise
            raise CommandError(
                f"packages_missing: {error.name} is not installed. The service does not need it, conversion does: "
                "make convert-env, or python -m pip install -r requirements-convert.txt, or in another project "
                'pip install "ml_models[convert]".'
            ) from error

    def aligner(self, detector: Path | None) -> Any:
        """Cuts faces out with the detector given, else with the published one."""
        from ml_models.conversion.faces import Aligner

        return Aligner(lambda: detector or self._published_detector())

    def _published_detector(self) -> Path:
        # only here is the database asked
        from ml_models.artifacts import ensure_local
        from ml_models.models import Artifact

        published = Artifact.objects.filter(name=_DETECTOR).first()
        if published is None:
            raise ConversionError(
                "detector_required", f"{_DETECTOR} is not published: run fetch_demo_pack, or give --detector FILE."
            )
        return ensure_local(published)
