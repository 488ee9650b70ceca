"""Uploads in memory, capped while they arrive: a face never lies in a temporary file, whatever the host's settings."""

from __future__ import annotations

import io
from typing import Any

from django.core.files.uploadedfile import InMemoryUploadedFile
from django.core.files.uploadhandler import FileUploadHandler
from django.http import HttpRequest
from django.http.request import UnreadablePostError

from ml_models import conf
from ml_models.engine.errors import ImageTooLarge

_CHUNK_BYTES = 1 << 16
# a client that is refused in the middle of a larger body loses the connection before it reads the answer
_DRAINED_BYTES = 128 << 20


class FrameUploadHandler(FileUploadHandler):
    """Keeps one file in memory, and refuses it at the byte that is one too many."""

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        super().new_file(*args, **kwargs)
        self._buffer = io.BytesIO()

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes | None:
        limit = conf.get("MAX_IMAGE_BYTES")
        if start + len(raw_data) > limit:
            raise ImageTooLarge(f"The picture is larger than the {limit} bytes allowed.")
        self._buffer.write(raw_data)
        return None

    def file_complete(self, file_size: int) -> InMemoryUploadedFile:
        self._buffer.seek(0)
        return InMemoryUploadedFile(
            self._buffer, self.field_name, self.file_name or "", self.content_type, file_size, self.charset
        )


def use_memory(request: HttpRequest) -> None:
    """Take uploads by `FrameUploadHandler`, unless a middleware of the host has read them already."""
    if not hasattr(request, "_files"):
        request.upload_handlers = [FrameUploadHandler(request)]


def require_small(request: HttpRequest) -> None:
    """Raises: ImageTooLarge when the request says itself that it is beyond `MAX_REQUEST_BYTES`."""
    length, limit = request.META.get("CONTENT_LENGTH") or "0", conf.get("MAX_REQUEST_BYTES")
    if length.isdigit() and int(length) > limit:
        raise ImageTooLarge(f"The request has {length} bytes; {limit} are allowed.")


def drain(request: HttpRequest) -> None:
    """Read the rest of a refused body and forget it, so that the client comes to reading the answer."""
    left = _DRAINED_BYTES
    try:
        while left > 0 and (chunk := request.read(_CHUNK_BYTES)):
            left -= len(chunk)
    except UnreadablePostError:
        return  # the client has left
