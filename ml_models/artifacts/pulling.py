"""From the storage to a verified local file. Only bytes that hash to what the database says get through."""

from __future__ import annotations

import logging
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from .. import conf
from ..engine.files import sha256_of, sync_folder
from ..exceptions import ArtifactCorrupt, ArtifactMissing, CacheUnwritable
from ..models import Artifact
from .storage import Progress, Writable, crc32c_of, storage

logger = logging.getLogger(__name__)

_PARTIAL = ".pull-"
_ONCE_MORE = "Look whether a proxy answers for the bucket, and try again."
_VERIFIED = re.compile(r"[0-9a-f]{64}\.onnx")
# longer than any block of a download takes to come, and than a version takes to load
_IN_USE_S = 3600.0


def object_name(name: str) -> str:
    """Where an artifact of this name is published."""
    return f"{conf.get('PREFIX')}{name}.onnx"


def local_path(artifact: Artifact) -> Path:
    return conf.cache_dir() / f"{artifact.sha256}.onnx"


def ensure_local(artifact: Artifact, progress: Progress | None = None) -> Path:
    """The artifact as a local file whose bytes hash to `artifact.sha256`: from the cache, else from the storage.

    A file in the cache is hashed again, so that a damaged disk never serves a network.

    Raises:
        ArtifactMissing: the pinned generation is not in the storage.
        ArtifactCorrupt: what came has another size or sha256; nothing was replaced.
        BucketUnavailable: the storage cannot be used and the cache does not have it.
        CacheUnwritable: the disk is full, or the folder may not be written.
    """
    path = local_path(artifact)
    try:
        if path.exists() and sha256_of(path) == artifact.sha256:
            keep(artifact)
            return path
        return _pull(artifact, path, progress)
    except OSError as error:
        raise CacheUnwritable(
            f"{artifact.name} cannot be kept in the cache ({path.parent}): {error.strerror}."
        ) from error


def _pull(artifact: Artifact, path: Path, progress: Progress | None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    trim(path.parent, artifact.size)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=_PARTIAL)
    try:
        with os.fdopen(handle, "wb") as file:
            _download(artifact, _Counting(file, artifact, progress))
            file.flush()
            os.fsync(file.fileno())
        if sha256_of(Path(temporary)) != artifact.sha256:
            raise ArtifactCorrupt(
                f"{artifact.name}: the sha256 differs from the one in the database. Publish a good file by a new name."
            )
        Path(temporary).replace(path)
        sync_folder(path.parent)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return path


def keep(artifact: Artifact) -> None:
    """Mark an artifact's file in the cache as used now, so that `trim` spares it."""
    with suppress(OSError):  # it is not there, or in a cache that may only be read: then nothing is trimmed either
        os.utime(local_path(artifact))


def trim(folder: Path, coming: int) -> None:
    """Make room for a file of `coming` bytes: what a killed download left goes, and then the files used longest ago,
    until all of them have at most `CACHE_BYTES`. One that was used within the hour stays: a version may be loading it.
    """
    now = time.time()
    files = sorted(((file, file.stat()) for file in _ours(folder)), key=lambda pair: pair[1].st_mtime)
    size = coming + sum(stat.st_size for _, stat in files)
    for file, stat in files:
        partial, idle = file.name.startswith(_PARTIAL), now - stat.st_mtime > _IN_USE_S
        if idle and (partial or size > conf.get("CACHE_BYTES")):
            file.unlink(missing_ok=True)
            size -= stat.st_size
            logger.info("the cache let go of %s", file.name)


def _ours(folder: Path) -> Iterator[Path]:
    """Files that this module has made there, and nothing else that somebody keeps beside them."""
    yield from folder.glob(f"{_PARTIAL}*")
    yield from (file for file in folder.glob("*.onnx") if _VERIFIED.fullmatch(file.name))


def require_in_bucket(artifact: Artifact) -> None:
    """Prove that the storage holds the pinned generation with the bytes of the verified local file: what one machine
    has in its cache, another one must be able to pull.

    Raises:
        ArtifactMissing: the pinned generation is not in the storage.
        ArtifactCorrupt: its size or CRC32C differs from the local file's.
        BucketUnavailable
    """
    stored = storage().stat(_object_of(artifact), artifact.generation)
    if (stored.size, stored.crc32c) != (artifact.size, crc32c_of(ensure_local(artifact))):
        raise ArtifactCorrupt(f"{artifact.name}: the bucket holds other bytes than the ones that were published.")


def _object_of(artifact: Artifact) -> str:
    root = storage().root
    if not artifact.uri.startswith(root):
        raise ArtifactMissing(
            f"{artifact.name} was published at {artifact.uri}; this deployment's storage is {root}. Publish it there,"
            " or set STORAGE and BUCKET to what they were."
        )
    return artifact.uri.removeprefix(root)


def _download(artifact: Artifact, file: _Counting) -> None:
    storage().download(_object_of(artifact), artifact.generation, file)
    if file.size != artifact.size:
        raise ArtifactCorrupt(f"{artifact.name}: {file.size} bytes came, {artifact.size} were expected. {_ONCE_MORE}")


class _Counting:
    """A file that counts what is written, stops at the size expected and reports progress."""

    def __init__(self, file: Writable, artifact: Artifact, progress: Progress | None) -> None:
        self._file, self._artifact, self._progress = file, artifact, progress
        self.size = 0

    def write(self, data: bytes) -> int:
        self.size += len(data)
        if self.size > self._artifact.size:
            raise ArtifactCorrupt(
                f"{self._artifact.name}: more bytes came than the {self._artifact.size} expected. {_ONCE_MORE}"
            )
        if self._progress:
            self._progress(self.size, self._artifact.size)
        return self._file.write(data)
