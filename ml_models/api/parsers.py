"""Bodies → values, at a cost that their length allows: what is refused is refused before it is built."""

from __future__ import annotations

import binascii
import json
import math
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from django.core.exceptions import SuspiciousMultipartForm
from django.http.multipartparser import ChunkIter, LazyStream, MultiPartParserError, Parser
from django.http.multipartparser import MultiPartParser as DjangoMultiPartParser
from django.utils.datastructures import MultiValueDict
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser

from ml_models import conf
from ml_models.engine.errors import ImageTooLarge

MAX_VALUES = 20_000
"""Commas, colons and brackets in a JSON body, inside its texts too: base64 has none of them, 2,000 ids that are URNs
have some."""
MAX_PARTS = 256
"""200 subjects to identify among, their frames, and some."""
MAX_WIDE = 10_000
_REACH = 4096
_UNESCAPED_QUOTE = re.compile(rb'(?<!\\)"')
_NON_ASCII = re.compile(rb"[\x80-\xff]+")
_ESCAPE = rb"\\u(?!00[0-7])[0-9A-Fa-f]{4}"
# not (…)+: a pattern that begins with letters is looked for fifty times as fast
_NON_ASCII_ESCAPE = re.compile(_ESCAPE + rb"(?:" + _ESCAPE + rb")*")
_INDEX = re.compile(r"\[\d*\]$")


class JSONParser(BaseParser):
    """UTF-8 JSON, whatever charset its header names (RFC 8259)."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        body = stream.read()
        values = sum(map(body.count, b"[{,:"))
        if values > MAX_VALUES:
            raise ParseError(
                f"The JSON body has about {values} values; {MAX_VALUES} are allowed. "
                "Send a picture as base64 text, not as an array of numbers."
            )
        try:
            text = _ascii(body.removeprefix(b"\xef\xbb\xbf"))
            del body
            return json.loads(text, parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_each_once)
        except RecursionError:
            raise ParseError("The JSON body is nested too deep.") from None
        except json.JSONDecodeError as error:
            raise ParseError(f"The body is not JSON: {error.msg}, at character {error.pos}.") from None
        except ValueError:  # a number of thousands of digits
            raise ParseError("The JSON body has a number that is too long.") from None


def _ascii(body: bytes) -> str:
    """JSON with its non-ASCII characters escaped. Python spends four bytes on every character of a text that has one
    which needs them, so such a character may not lie in a text of a picture's length.

    Raises: ParseError
    """
    places = 0

    def escaped(match: re.Match[bytes]) -> bytes:
        nonlocal places
        places += 1
        before = _UNESCAPED_QUOTE.search(body, max(0, match.start() - _REACH), match.start())
        after = _UNESCAPED_QUOTE.search(body, match.end(), match.end() + _REACH)
        if places > MAX_WIDE:
            raise ParseError(f"The JSON body has non-ASCII characters in more than {MAX_WIDE} places.")
        if not (before and after):
            raise ParseError(f"The JSON body has non-ASCII characters in a text of more than {_REACH} bytes.")
        try:
            return match[0] if match[0].isascii() else json.dumps(match[0].decode())[1:-1].encode()
        except UnicodeDecodeError as error:
            raise ParseError(f"The JSON body is not UTF-8, from byte {match.start() + error.start} on.") from None

    for match in _NON_ASCII_ESCAPE.finditer(body):
        escaped(match)
    return (body if body.isascii() else _NON_ASCII.sub(escaped, body)).decode("ascii")


def _refuse_constant(name: str) -> NoReturn:
    raise ParseError("The body is not JSON: NaN and Infinity are not numbers there.")


def _finite(text: str) -> float:
    """A number as it stands: 1e999 would become Infinity. Raises: ParseError"""
    number = float(text)
    return number if math.isfinite(number) else _refuse_constant(text)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object's members. Of two with one name, a proxy may have looked at the other one. Raises: ParseError"""
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ParseError("The JSON body has an object with two members of one name. Send each once.")
    return members


class MultiPartParser(BaseParser):
    """multipart/form-data: an `image` with a file's name is bytes; any other part is text, or bytes where it cannot be
    text. Some clients give each part a file's name, an id's too.

    `image[]` and `image[0]`, as several libraries name the parts of a list, are `image`.
    """

    media_type = "multipart/form-data"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        parts: MultiValueDict[str, str | bytes] = MultiValueDict()
        try:
            # Django looks for the type in small letters
            kind, _, parameters = (media_type or "").partition(";")
            header = f"{kind.lower()};{parameters}"
            reader = _Parts({"CONTENT_TYPE": header, "CONTENT_LENGTH": 0}, stream, [])
            for name, value in reader:
                parts.appendlist(name, value)
        except (MultiPartParserError, SuspiciousMultipartForm):  # what they say repeats the header
            raise ParseError("The body is not multipart/form-data with the boundary that its header names.") from None
        return parts


class _Parts(DjangoMultiPartParser):
    """Django's reading of boundaries and headers. Its own parser drops parts of a text that is not UTF-8."""

    _input_data: Any
    _boundary: bytes

    def __iter__(self) -> Iterator[tuple[str, str | bytes]]:
        stream = LazyStream(ChunkIter(self._input_data))
        # Django makes empty ones before the first boundary and after the last
        for count, (_, headers, part) in enumerate(Parser(stream, self._boundary), -1):
            if count > MAX_PARTS:
                raise ParseError(f"The request has more than {MAX_PARTS} parts.")
            disposition: dict[str, Any] = headers.get("content-disposition", ("", {}))[1]
            name = _INDEX.sub("", disposition.get("name", b"").decode(errors="replace").strip())
            if name:
                is_file = name == "image" and bool(disposition.get("filename"))
                yield name, _value(part, headers.get("content-transfer-encoding", ("", {}))[0].strip(), is_file)


def _value(part: LazyStream, transfer_encoding: str, is_file: bool) -> str | bytes:
    limit = conf.get("MAX_IMAGE_BYTES")
    # base64 needs four bytes for three, and some for its lines
    allowed = limit if is_file and transfer_encoding != "base64" else 2 * limit
    chunks, size = [], 0
    for chunk in part:
        size += len(chunk)
        if size > allowed:
            raise ImageTooLarge(f"The picture is larger than the {limit} bytes allowed.")
        chunks.append(chunk)
    data = b"".join(chunks)
    if transfer_encoding == "base64":
        try:
            data = binascii.a2b_base64(data)
        except binascii.Error:
            raise ParseError("A part that says it is base64 is not.") from None
    if is_file:
        return data
    if data.isascii():
        return data.decode("ascii")
    try:  # a long text with one character that needs it would take four bytes for each
        return data.decode() if len(data) <= _REACH else data
    except UnicodeDecodeError:
        return data
