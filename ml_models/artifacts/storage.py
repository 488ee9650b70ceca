"""Where model files lie: what a storage must do, and the one that this deployment uses."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import google_crc32c
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from .. import conf

Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all)."""

BLOCK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One generation of an object, as the storage describes it."""

    generation: int
    size: int
    """Bytes."""
    crc32c: str
    """Of the bytes as they lie in the storage, by the storage's own reckoning; written as `crc32c_of` writes it."""
    sha256: str
    """Hex, as whoever uploaded it stated; empty when nothing was stated. A claim, no proof."""


class Writable(Protocol):
    """What `Storage.download` writes into: a binary file, or anything with its `write`."""

    def write(self, data: bytes, /) -> int: ...


class Storage(Protocol):
    """Where model files lie: the class that `ML_MODELS["STORAGE"]` names, made once a process, used by many threads.

    An object is created once, under a name such as `face_recognition/models/net.onnx`, and gets a generation: a
    positive number below 2⁶³ that never stands for other bytes. Should somebody replace the object, the new bytes have
    another generation; the pinned one is readable as before, or missing.

    Reading takes one verb: a caller that keeps, counts or hashes the bytes gives `download` a file that does so. The
    storage can then repeat a part that got lost, and check the whole at its end. A stream to read from allows neither.

    Every verb raises BucketUnavailable when the storage refuses, cannot be reached or has no usable credentials; the
    message says which, and the next step. An OSError of the caller's own file passes unchanged.
    """

    @property
    def root(self) -> str:
        """How the address of each object begins, such as `gs://bucket/`: `Artifact.uri` is `root` and the name."""

    def stat(self, name: str, generation: int | None = None) -> StoredObject:
        """Describe an object's pinned generation, or its newest one.

        Raises:
            ArtifactMissing: there is none; the message says whether the bucket or the object is missing.
        """

    def create(self, path: Path, name: str, sha256: str, progress: Progress | None = None) -> StoredObject:
        """Upload a file as a new object, and prove that the storage has it whole.

        Args:
            sha256: hex, of the file; kept beside the object.

        Raises:
            ObjectExists: there is an object of this name; it is left alone.
            ArtifactCorrupt: other bytes arrived than `sha256` says; they are deleted again.
        """

    def download(self, name: str, generation: int, file: Writable) -> None:
        """Write the bytes of a pinned generation into `file`, in order.

        Raises:
            ArtifactMissing: there is no such generation.
            ArtifactCorrupt: the bytes are damaged; some of them may have been written by then.
        """


@lru_cache(maxsize=4)
def _made(path: str) -> Storage:
    try:
        made: Storage = import_string(path)()
    except ImportError as error:
        raise ImproperlyConfigured(f"ML_MODELS['STORAGE'] is {path!r}, which cannot be imported: {error}.") from error
    return made


def storage() -> Storage:
    """The deployment's storage. Raises: ImproperlyConfigured when the setting names no class."""
    return _made(conf.get("STORAGE"))


def crc32c_of(path: Path) -> str:
    """CRC32C of a file: base64 of its four big-endian bytes."""
    checksum: Any = google_crc32c.Checksum()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            checksum.update(block)
    return base64.b64encode(checksum.digest()).decode()


def stored_sha256(source: Storage, name: str, generation: int) -> str:
    """SHA-256 (hex) of the bytes that a storage gives back for a generation; nothing is kept.

    Raises: as `Storage.download`.
    """
    sink = _Hashing()
    source.download(name, generation, sink)
    return sink.digest.hexdigest()


class _Hashing:
    def __init__(self) -> None:
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return len(data)
