import os

from django.conf import settings

from . import handler

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "backend_easy.settings")
if not settings.configured:
    os.environ.setdefault(
        "DATABASE_POOL", "12"
    )  # for a server that does not say better, as config/gunicorn.conf.py does
application = handler.application()
