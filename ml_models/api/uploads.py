"""Bodies as they arrive: in memory, capped, and read to their end, whatever the host's settings and the answer."""

from __future__ import annotations

import time
from typing import Any

from django.http import HttpRequest
from django.http.request import RawPostDataException, UnreadablePostError
from rest_framework.exceptions import APIException, UnsupportedMediaType

from ml_models import conf
from ml_models.engine.errors import ImageTooLarge
from ml_models.services.frames import FrameUploadHandler

_CHUNK_BYTES = 1 << 16
# a client whose body is not read to its end loses the connection, often before it reads the answer
_DRAINED_BYTES = 128 << 20
_DRAINED_S = 10.0
_MAX_DIGITS = 20


class LengthRequired(APIException):
    """A body without Content-Length behind a server that does not say where it ends."""

    status_code = 411
    default_detail = "Send the body with a Content-Length: this server cannot read a chunked one."


class _Capped:
    """A body of unknown length: Django would read none of it. Raises: ImageTooLarge at the byte that is one too many,
    UnreadablePostError for whatever the server makes of a broken one."""

    def __init__(self, stream: Any, limit: int) -> None:
        self._stream, self._limit, self._left = stream, limit, limit

    def read(self, size: int | None = None) -> bytes:
        # past the limit somebody reads the rest in order to forget it
        most = _CHUNK_BYTES if self._left < 0 else self._left + 1
        try:
            data: bytes = self._stream.read(most if size is None or size < 0 else min(size, most))
        except Exception as error:  # each server has errors of its own for a broken body, and none can be named here
            raise UnreadablePostError from error
        refused, self._left = self._left < 0, self._left - len(data)
        if self._left < 0 and not refused:
            raise ImageTooLarge(f"The request is larger than the {self._limit} bytes allowed.")
        return data

    def close(self) -> None:
        """The server's to do."""


def use_memory(request: HttpRequest) -> None:
    """Take uploads by `FrameUploadHandler`, unless a middleware of the host has read them already: another one, or the
    host's authentication, may read the form before the view's own parser does."""
    if not hasattr(request, "_files"):
        request.upload_handlers = [FrameUploadHandler(request)]


def take_chunked(request: HttpRequest) -> None:
    """Make a body without Content-Length readable, up to `MAX_REQUEST_BYTES`, where the server says where it ends."""
    # under ASGI, Django has received the whole body already
    is_endless = "wsgi.input" in request.META and not request.META.get("wsgi.input_terminated")
    if is_endless or not _is_chunked(request):
        return
    limit = conf.get("MAX_REQUEST_BYTES")
    request._stream = _Capped(request.META.get("wsgi.input", request._stream), limit)  # type: ignore[assignment]
    # parsers take a body without a length for none
    request.META["CONTENT_LENGTH"] = str(limit)


def _is_chunked(request: HttpRequest) -> bool:
    return not request.META.get("CONTENT_LENGTH") and bool(request.META.get("HTTP_TRANSFER_ENCODING"))


def require_readable(request: HttpRequest) -> None:
    """Refuse a body by what its headers say of it.

    Raises:
        ImageTooLarge: it is beyond `MAX_REQUEST_BYTES`.
        LengthRequired: nobody says where it ends.
        UnsupportedMediaType: it is compressed, so that its length says nothing of its cost.
    """
    for header, plain in (("HTTP_CONTENT_ENCODING", "identity"), ("HTTP_TRANSFER_ENCODING", "chunked")):
        if (coding := request.META.get(header) or plain).strip().lower() != plain:
            raise UnsupportedMediaType(coding)
    if _is_chunked(request):
        raise LengthRequired
    length, limit = request.META.get("CONTENT_LENGTH") or "0", conf.get("MAX_REQUEST_BYTES")
    # of more than 4,300 digits Python makes no number
    if length.isdecimal() and (len(length) > _MAX_DIGITS or int(length) > limit):
        raise ImageTooLarge(f"The request is larger than the {limit} bytes allowed.")


def drain(request: HttpRequest) -> None:
    """Read what is left of a body and forget it: the client comes to reading the answer, and its connection to its next
    request. A server closes a connection that has more than a little of a body left in it."""
    left, until = _DRAINED_BYTES, time.monotonic() + _DRAINED_S
    try:
        while left > 0 and time.monotonic() < until and (chunk := request.read(_CHUNK_BYTES)):
            left -= len(chunk)
    except (ImageTooLarge, UnreadablePostError, RawPostDataException):
        return
