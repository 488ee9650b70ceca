"""Bytes of people where none may be: logs, metrics, broker, cache, half-pulled and temporary files, error answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import redis

from devstack.drill.stack import Stack
from devstack.drill.traffic import Answer

# the drill's subject ids; the beginning of a JPEG file, as it is and in base64
_PERSONAL = re.compile(rb"drill-\d+|\xff\xd8\xff|/9j/")


def leaked(stack: Stack, answers: Iterable[Answer]) -> dict[str, int]:
    """How many bytes, by the place where they were found; empty for none."""
    places = {
        "logs": _personal_in(stack.state.logs),
        "the broker and the cache": sum(len(line) for value in _stored(stack) for line in _personal(value)),
        "metrics": _personal_in(Path(stack.environment["PROMETHEUS_MULTIPROC_DIR"])),
        "half-pulled files": _size(Path(stack.environment["ML_MODELS_CACHE_DIR"]).glob(".pull-*")),
        "temporary files": _size(Path(stack.environment["TMPDIR"]).rglob("*")),
        "error answers": sum(len(line) for a in answers if a.status >= 400 for line in _personal(_text(a))),
    }
    return {place: size for place, size in places.items() if size}


def _personal_in(folder: Path) -> int:
    return sum(len(line) for path in folder.iterdir() for line in _personal(path.read_bytes()))


def _personal(data: bytes) -> Iterator[bytes]:
    return (line for line in data.split(b"\n") if _PERSONAL.search(line))


def _text(answer: Answer) -> bytes:
    return json.dumps(answer.body).encode()


def _size(paths: Iterable[Path]) -> int:
    return sum(path.stat().st_size for path in paths if path.is_file())


def _stored(stack: Stack) -> Iterator[bytes]:
    with redis.Redis.from_url(stack.environment["REDIS_URL"]) as client:
        for key in client.scan_iter():
            yield key
            yield client.dump(key) or b""
