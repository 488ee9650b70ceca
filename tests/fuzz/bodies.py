"""JSON and multipart bodies: what clients write, what they get wrong, and damage done to both."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from tests.support.pictures import encoded, faceless

CALLS = tuple(
    f"/api/v1/face/{call}"
    for call in (
        "enroll",
        "verify",
        "enroll",
        "verify",
        "identify",
        "quality",
        "liveness/challenges",
        "configs/2/activate",
    )
)
_BOUNDARIES = ("b", "a-boundary", "----WebKitFormBoundary7MA4YWxkTrZu0gW", "'()+_,-./:=?", "x" * 201, "", "a b", "\xe9")
_CHARSETS = ("", "; charset=utf-8", "; charset=UTF-16", "; charset=zlib", "; charset=idna", "; charset=x", "; charset")
_NAMES = ("image", "image", "image", "image[]", "image[0]", "subject_id", "subject_id", "override", "", "\0", "x" * 500)
_FIELDS = ("subject_id", "image", "override", "hold_for_approval", "purpose", "subject_ids", "group")
_TEXTS = (
    "",
    " ",
    "child-1",
    " lead",
    "trail\n",
    "sub\nject",
    "\0",
    "\ud800",
    "😀" * 50,
    ".",
    "..",
    "a/../b",
    "x" * 201,
    "true",
    "9" * 5000,
    "\u202e",
)
_NUMBERS = (0, -1, 1.5, 1e308, 10**30, 2**63, True, False, None)
_DAMAGE = (
    b"\0",
    b"\xff",
    b'"',
    b"\\",
    b"\\ud800",
    b"[",
    b"{",
    b"\r\n",
    b"\r\n--b",
    b"--",
    b"NaN",
    b"1e999",
    b"\xef\xbb\xbf",
)


@dataclass(frozen=True)
class Body:
    path: str
    content_type: str
    data: bytes


@cache
def picture() -> bytes:
    return encoded(faceless(48, 32))


def body(index: int, seed: int) -> Body:
    """The body of one run, always the same for the same numbers. One in fifty is some megabytes long."""
    rng = random.Random(f"{seed}:{index}")  # noqa: S311 - reproducible on purpose
    scale = 1500 if rng.random() < 0.02 else 1
    content_type, data = rng.choice([_json, _multipart])(rng, scale)
    damaged = bytearray(data)
    for _ in range(rng.choice([0, 0, 0, 1, 3])):
        rng.choice(_OPERATIONS)(rng, damaged)
    if rng.random() < 0.05:
        content_type = rng.choice(
            ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "a" * 300]
        )
    return Body(rng.choice(CALLS), content_type, bytes(damaged))


def _text(rng: random.Random, scale: int) -> str:
    text = base64.b64encode(picture()).decode()
    return rng.choice(
        [
            text * scale,
            text.replace("+", "-").replace("/", "_").rstrip("="),
            "\r\n".join(text[at : at + 76] for at in range(0, len(text), 76)),
            f"DATA:image/jpeg;name=a.jpg;BASE64,{text}",
            f"data:,{text}",
            *rng.sample(_TEXTS, 4),
        ]
    )


def _value(rng: random.Random, scale: int, depth: int = 0) -> Any:
    kind = rng.randrange(8 if depth < 6 else 5)
    if kind < 4:
        return _text(rng, scale)
    if kind == 4:
        return rng.choice(_NUMBERS)
    if kind == 5:
        return list(picture()[:300]) * rng.choice([1, scale])
    if kind == 6:
        return [_value(rng, 1, depth + 1) for _ in range(rng.randrange(8))]
    return {rng.choice(_NAMES): _value(rng, 1, depth + 1) for _ in range(rng.randrange(4))}


def _json(rng: random.Random, scale: int) -> tuple[str, bytes]:
    fields = {name: _value(rng, scale) for name in _FIELDS}
    if rng.random() < 0.6:
        fields.update(subject_id="child-1", override=False, purpose="verify")
        del fields["group"]
    data: Any = fields if rng.random() < 0.9 else _value(rng, scale)
    text = json.dumps(data, ensure_ascii=rng.random() < 0.5, indent=rng.choice([None, 2])).encode(
        errors="surrogatepass"
    )
    if rng.random() < 0.05:
        text = text.replace(b"null", b"[" * 500 * scale + b"]" * 500 * scale)
    return "application/json" + rng.choice(_CHARSETS), text


def _multipart(rng: random.Random, scale: int) -> tuple[str, bytes]:
    boundary = rng.choice(_BOUNDARIES[:3] if rng.random() < 0.9 else _BOUNDARIES)
    end = rng.choice(["\r\n"] * 9 + ["\n"])
    parts = [_part(rng, scale, end) for _ in range(rng.choice([1, 2, 2, 3]))] * rng.choice([1, 1, 1, 1, 3, 90 // scale])
    if rng.random() < 0.6:
        parts = [b'Content-Disposition: form-data; name="subject_id"' + end.encode() * 2 + b"child-1", *parts]
    lines = [f"--{boundary}{end}".encode(errors="replace") + part + end.encode() for part in parts]
    whole = b"".join(lines) + f"--{boundary}--{end}".encode(errors="replace")
    return f"multipart/form-data; boundary={boundary}" + rng.choice(_CHARSETS), whole


def _part(rng: random.Random, scale: int, end: str) -> bytes:
    headers = [f'Content-Disposition: form-data; name="{rng.choice(_NAMES)}"']
    if rng.random() < 0.6:
        headers[0] += "; filename=" + rng.choice(['"a.jpg"', '""', '"/"', "*=UTF-8''%e2%82%ac", "a" * 2000, '"a'])
    if rng.random() < 0.3:
        headers.append("Content-Transfer-Encoding: " + rng.choice(["base64", "binary", "quoted-printable"]))
    if rng.random() < 0.3:
        headers.append("Content-Type: " + rng.choice(["image/jpeg", "text/plain; charset=zlib", "multipart/mixed"]))
    if rng.random() < 0.05:
        headers = headers[1:]
    value = rng.choice([picture() * rng.choice([1, scale]), _text(rng, scale).encode(errors="surrogatepass")])
    return (end.join(headers) + end * 2).encode(errors="surrogatepass") + value


def _flip(rng: random.Random, data: bytearray) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _insert(rng: random.Random, data: bytearray) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = rng.choice(_DAMAGE) * rng.choice([1, 1, 50, 2000])


def _remove(rng: random.Random, data: bytearray) -> None:
    at = rng.randrange(len(data) + 1)
    del data[at : at + rng.choice([1, 4, 100])]


def _cut(rng: random.Random, data: bytearray) -> None:
    del data[rng.randrange(len(data) + 1) :]


_OPERATIONS: list[Callable[[random.Random, bytearray], None]] = [_flip, _flip, _insert, _insert, _remove, _cut]
