"""The host service that `ml_models` is plugged into."""

from .celery import app as celery_app

__all__ = ["celery_app"]
