"""A folder as storage: for a host without a bucket, and for tests."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .. import conf
from ..engine.files import sha256_of, sync_folder
from ..exceptions import ArtifactCorrupt, ArtifactMissing, BucketUnavailable, ObjectExists
from .storage import BLOCK_BYTES, Progress, StoredObject, Writable, crc32c_of

_GENERATION = re.compile(r"(\d{1,18})-([0-9a-f]{64})")


class FolderStorage:
    """Model files in the folder that `ML_MODELS["BUCKET"]` names, on a disk or a share; it must exist.

    An object is a folder of its generations, each one a file `<generation>-<sha256>`: a copy of it all stays valid.
    """

    root = "folder:"  # not the path: machines may mount the same share at different places

    def stat(self, name: str, generation: int | None = None) -> StoredObject:
        with _errors(name):
            path, number, sha256 = _find(name, generation)
            return StoredObject(number, path.stat().st_size, crc32c_of(path), sha256)

    def create(self, path: Path, name: str, sha256: str, progress: Progress | None = None) -> StoredObject:
        with _errors(name):
            target, generation = _folder() / name, time.time_ns() // 1000
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=".create-") as scratch:
                copy = Path(scratch) / "object" / f"{generation}-{sha256}"
                copy.parent.mkdir()
                shutil.copyfile(path, copy)
                with copy.open("rb") as file:
                    os.fsync(file.fileno())
                if sha256_of(copy) != sha256:
                    raise ArtifactCorrupt(f"{name} arrived damaged and was deleted again. Publish it once more.")
                sync_folder(copy.parent)
                copy.parent.rename(target)  # the system refuses to replace a folder that is not empty
            sync_folder(target.parent)
        stored = self.stat(name, generation)
        if progress:
            progress(stored.size, stored.size)
        return stored

    def download(self, name: str, generation: int, file: Writable) -> None:
        with _errors(name):
            path, _, sha256 = _find(name, generation)
        digest = hashlib.sha256()
        for block in _blocks(path, name):
            digest.update(block)
            file.write(block)
        if digest.hexdigest() != sha256:
            raise ArtifactCorrupt(f"{path} is damaged: its sha256 is not the one in its name. Restore it.")


def _folder() -> Path:
    folder = Path(conf.get("BUCKET"))
    if not folder.is_dir():
        raise BucketUnavailable(f"There is no folder {folder}. Mount it, create it, or set ML_MODELS['BUCKET'].")
    return folder


def _find(name: str, generation: int | None) -> tuple[Path, int, str]:
    """The file of a generation, or of the newest one; its generation and its sha256."""
    folder = _folder() / name
    matches = [_GENERATION.fullmatch(path.name) for path in folder.iterdir()] if folder.is_dir() else []
    generations = {int(match[1]): match for match in matches if match}
    number = max(generations, default=0) if generation is None else generation
    if number not in generations:
        pinned = "" if generation is None else f" of generation {generation}"
        raise ArtifactMissing(f"The folder {_folder()} has no {name}{pinned}. Publish it with publish_model.")
    return folder / generations[number][0], number, generations[number][2]


def _blocks(path: Path, name: str) -> Iterator[bytes]:
    with _errors(name), path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            yield block


@contextmanager
def _errors(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        folder = conf.get("BUCKET")
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise ObjectExists(f"The folder {folder} has a {name} already.") from error
        raise BucketUnavailable(
            f"The folder {folder} cannot be used for {name}: {error.strerror}. Check its mount, rights and free space."
        ) from error
