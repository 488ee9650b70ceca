"""Logs as JSON, one object a line: LOG_FORMAT=json."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime

from django.apps import apps


class JsonFormatter(logging.Formatter):
    """`at`, `level`, `logger`, `message`; in a call `request_id`, and at its end what came of it
    (`ml_models.api.request_log`). No line has a subject, a picture or a vector, as none has in plain text."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_context(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def _context() -> Mapping[str, str]:
    """The call in hand; none while the apps are loaded, when the settings name this file already."""
    if not apps.ready:
        return {}
    from ml_models.api import request_log

    return request_log.context()
