"""multipart/form-data (RFC 7578) as clients write it. A part's name, its transfer encoding and whether it is JSON
are read; whatever else its headers hold can neither refuse a form nor lose a part of it."""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from django.utils.datastructures import MultiValueDict
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser

from ml_models import conf
from ml_models.engine.errors import ImageTooLarge

from .parsers import REACH, from_base64

MAX_PARTS = 256
"""200 subjects to identify among, their frames, and some."""
MAX_HEADER_BYTES = 8192
"""Of one part: the longest name that a phone can give a file needs some 1,200, in two spellings."""
_MAX_BOUNDARY_BYTES = 201
_NOT_A_FORM = "The body is not multipart/form-data with the boundary that its header names."
_INDEX = re.compile(r"\[\d*\]$")
_HEADERS_END = re.compile(rb"\r?\n\r?\n")
_FOLD = re.compile(rb"\r?\n[ \t]+")
_PARAMETER = re.compile(r';\s*([^\s=;]+)\s*=\s*("(?:\\.|[^"\\])*"|[^;]*)')
# how a JPEG, PNG, WebP or HEIC begins in base64, and none of them in bytes
_BASE64 = re.compile(rb"\s*+(?:/9j/|_9j_|iVBORw|UklGR|AAAA|(?i:data:))")


class MultiPartParser(BaseParser):
    """An `image` with a file's name is bytes, unless they are base64; any other part is text, or bytes where it cannot
    be text. Some clients give each part a file's name, an id's too.

    `image[]` and `image[0]`, as several libraries name the parts of a list, are `image`.
    """

    media_type = "multipart/form-data"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        fields: MultiValueDict[str, str | bytes] = MultiValueDict()
        for count, part in enumerate(_parts(stream.read(), _boundary(media_type or "")), 1):
            if count > MAX_PARTS:
                raise ParseError(f"The request has more than {MAX_PARTS} parts.")
            name = _INDEX.sub("", part.name)
            fields.appendlist(name, _value(part, is_file=name == "image" and _holds_bytes(part)))
        return fields


@dataclass(frozen=True, slots=True)
class _Part:
    name: str
    has_filename: bool
    transfer_encoding: str
    media_type: str
    content: bytes


def _boundary(media_type: str) -> bytes:
    """Raises: ParseError"""
    boundaries = _parameters(media_type, "boundary")
    if len(boundaries) != 1 or not (boundaries[0].isascii() and 1 <= len(boundaries[0]) <= _MAX_BOUNDARY_BYTES):
        raise ParseError(_NOT_A_FORM)
    return boundaries[0].encode()


def _parts(body: bytes, boundary: bytes) -> Iterator[_Part]:
    """What stands between the lines that are a boundary; what stands before the first and behind the last is no part of
    the form (RFC 2046, 5.1.1).

    Raises: ParseError
    """
    line = rb"--" + re.escape(boundary) + rb"(--)?[ \t]{0,99}\r?(?=\n|\Z)"
    start = None
    for found in chain(filter(None, [re.match(line, body)]), re.finditer(rb"\n" + line, body)):
        if start is not None:
            end = found.start()
            yield _part(body, start, end - 1 if body[end - 1 : end] == b"\r" else end)
        start = found.end()
        if found[1] or start >= len(body) - 1:
            return
    # a value that was cut off may be another one: “child-12” becomes “child-1”
    raise ParseError("The form ends before its last boundary. Send it again." if start is not None else _NOT_A_FORM)


def _part(body: bytes, start: int, end: int) -> _Part:
    """Raises: ParseError"""
    blank = _HEADERS_END.search(body, start, min(end, start + MAX_HEADER_BYTES))
    if not blank:
        raise ParseError(f"A part of the form has no blank line within {MAX_HEADER_BYTES} bytes, behind its headers.")
    headers: dict[str, str] = {}
    for line in _FOLD.sub(b" ", body[start : blank.start()]).split(b"\n"):
        header, _, value = line.partition(b":")
        name = header.decode("latin-1").lower()
        if name in headers and name.startswith("content-"):
            raise ParseError("A part of the form has one header twice. Send each once.")
        # a file's name may be in any encoding
        headers[name] = value.decode(errors="replace").strip()
    disposition = headers.get("content-disposition", "")
    names = [name.strip() for name in _parameters(disposition, "name")]
    if len(names) != 1 or not names[0]:
        raise ParseError('A part of the form has no name, or two: Content-Disposition: form-data; name="…".')
    has_filename = any(_parameters(disposition, "filename") + _parameters(disposition, "filename*"))
    encoding, media_type = (
        headers.get(f"content-{name}", "").partition(";")[0].strip().lower() for name in ("transfer-encoding", "type")
    )
    return _Part(names[0], has_filename, encoding, media_type, body[blank.end() : end])


def _parameters(header: str, name: str) -> list[str]:
    """The values that a header has for a parameter."""
    return [_unquoted(value.strip()) for parameter, value in _PARAMETER.findall(header) if parameter.lower() == name]


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if len(value) > 1 and value[0] == value[-1] == '"' else value


def _holds_bytes(part: _Part) -> bool:
    return part.has_filename and (part.transfer_encoding == "base64" or not _BASE64.match(part.content))


def _value(part: _Part, is_file: bool) -> str | bytes:
    limit = conf.get("MAX_IMAGE_BYTES")
    # a transfer encoding needs some bytes more
    if len(part.content) > (limit if is_file and not part.transfer_encoding else 2 * limit):
        raise ImageTooLarge(f"The picture is larger than the {limit} bytes allowed.")
    data = part.content
    if part.transfer_encoding == "base64":
        try:
            data = from_base64(data)
        except ValueError:
            raise ParseError("A part that says it is base64 is not.") from None
    elif part.transfer_encoding == "quoted-printable":
        data = binascii.a2b_qp(data)
    if is_file:
        return data
    # Retrofit sends a text so where its converter is one for JSON: the quotes are no part of an id
    if part.media_type == "application/json" and data[:1] == b'"' and (len(data) <= REACH or b"\\" not in data):
        try:
            data = json.loads(data).encode()
        except ValueError:
            raise ParseError("A part that says it is JSON is not.") from None
    if data.isascii():
        return data.decode("ascii")
    try:  # a long text with one character that needs it would take four bytes for each
        return data.decode() if len(data) <= REACH else data
    except UnicodeDecodeError:
        return data
