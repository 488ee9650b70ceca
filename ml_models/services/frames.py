"""A picture on its way in: kept in memory, never in a temporary file."""

from __future__ import annotations

import io
from typing import Any

from django.core.files.uploadedfile import InMemoryUploadedFile
from django.core.files.uploadhandler import FileUploadHandler

from .. import conf
from ..engine.errors import ImageTooLarge


class FrameUploadHandler(FileUploadHandler):
    """Keeps one file in memory, and refuses it at the byte that is one too many."""

    @property
    def limit(self) -> int:
        return int(conf.get("MAX_IMAGE_BYTES"))

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        super().new_file(*args, **kwargs)
        self._buffer = io.BytesIO()

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes | None:
        if start + len(raw_data) > self.limit:
            raise ImageTooLarge(f"The picture is larger than the {self.limit} bytes allowed.")
        self._buffer.write(raw_data)
        return None

    def file_complete(self, file_size: int) -> InMemoryUploadedFile:
        self._buffer.seek(0)
        return InMemoryUploadedFile(
            self._buffer, self.field_name, self.file_name or "", self.content_type, file_size, self.charset
        )
