"""Bodies → values, at a cost that their length allows: what is refused is refused before it is built."""

from __future__ import annotations

import binascii
import json
import math
import re
from typing import Any, NoReturn

from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser

MAX_VALUES = 20_000
"""Commas, colons and brackets in a JSON body, inside its texts too: base64 has none of them, 2,000 ids that are URNs
have some."""
MAX_WIDE = 10_000
REACH = 4096
"""How far characters beyond ASCII may be from the ends of their text, and how long a row of them is, in bytes."""
_IN_PARTS = "send a long list of ids in parts, to a group the further ones by PATCH."
_UNESCAPED_QUOTE = re.compile(rb'(?<!\\)"')
_NON_ASCII = re.compile(rb"[\x80-\xff]+")
_ESCAPE = rb"\\u(?!00[0-7])[0-9A-Fa-f]{4}"
# not (…)+: a pattern that begins with letters is looked for fifty times as fast
_NON_ASCII_ESCAPE = re.compile(_ESCAPE + rb"(?:" + _ESCAPE + rb")*+")
# base64 as clients write it: either alphabet, lines, no padding
_STANDARD, _BLANKS = bytes.maketrans(b"-_", b"+/"), b" \t\r\n\v\f"


def from_base64(text: bytes) -> bytes:
    """Raises: ValueError"""
    digits = text.translate(_STANDARD, _BLANKS).rstrip(b"=")
    return binascii.a2b_base64(digits + b"=" * (-len(digits) % 4), strict_mode=True)


class JSONParser(BaseParser):
    """UTF-8 JSON, whatever charset its header names (RFC 8259)."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        body = stream.read()
        values = sum(map(body.count, b"[{,:"))
        if values > MAX_VALUES:
            raise ParseError(
                f"The JSON body has about {values} values; {MAX_VALUES} are allowed. "
                f"Send a picture as base64 text, not as an array of numbers; {_IN_PARTS}"
            )
        if not json.detect_encoding(body).startswith("utf-8"):
            raise ParseError("The JSON body is UTF-16 or UTF-32. Send UTF-8.")
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
        before = _UNESCAPED_QUOTE.search(body, max(0, match.start() - REACH), match.start())
        after = _UNESCAPED_QUOTE.search(body, match.end(), match.end() + REACH)
        if places > MAX_WIDE:
            raise ParseError(f"The JSON body has non-ASCII characters in more than {MAX_WIDE} places: {_IN_PARTS}")
        if not (before and after) or match.end() - match.start() > REACH:
            raise ParseError(f"The JSON body has non-ASCII characters in a text of more than {REACH} bytes.")
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
