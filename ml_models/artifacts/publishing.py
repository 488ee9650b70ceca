"""Model files: the bucket ↔ a verified local file. Only bytes that hash to what the database says get through."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from django.db.models import Q

from .. import conf
from ..engine.errors import ContractMismatch
from ..engine.graph import is_whole
from ..exceptions import ArtifactCorrupt, CacheUnwritable, InvalidRequest, NameTaken
from ..models import Artifact
from . import gcs
from .gcs import Progress
from .kinds import KINDS

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def object_name(name: str) -> str:
    """Where an artifact lies in the bucket."""
    return f"{conf.get('PREFIX')}{name}.onnx"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def local_path(artifact: Artifact) -> Path:
    return conf.cache_dir() / f"{artifact.sha256}.onnx"


def ensure_local(artifact: Artifact, progress: Progress | None = None) -> Path:
    """The artifact as a local file whose bytes hash to `artifact.sha256`: from the cache, else from the bucket.

    A file in the cache is hashed again, so that a damaged disk never serves a network.

    Raises:
        ArtifactMissing: the pinned generation is not in the bucket.
        ArtifactCorrupt: what came has another size or sha256; nothing was replaced.
        BucketUnavailable: the bucket does not answer and the cache does not have it.
        CacheUnwritable: the disk is full, or the folder may not be written.
    """
    path = local_path(artifact)
    try:
        if path.exists() and sha256_of(path) == artifact.sha256:
            return path
        return _pull(artifact, path, progress)
    except OSError as error:
        raise CacheUnwritable(
            f"{artifact.name} cannot be kept in the cache ({path.parent}): {error.strerror}."
        ) from error


def _pull(artifact: Artifact, path: Path, progress: Progress | None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".pull-")
    try:
        with os.fdopen(handle, "wb") as file:
            _download(artifact, _Verifying(file, artifact, progress))
            file.flush()
            os.fsync(file.fileno())
        if sha256_of(Path(temporary)) != artifact.sha256:
            raise ArtifactCorrupt(f"{artifact.name}: the sha256 differs from the one in the database.")
        Path(temporary).replace(path)
        _fsync_folder(path.parent)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return path


def require_in_bucket(artifact: Artifact) -> None:
    """Prove that the bucket holds the pinned generation with the bytes of the verified local file: what one machine has
    in its cache, another one must be able to pull.

    Raises:
        ArtifactMissing: the pinned generation is not in the bucket.
        ArtifactCorrupt: its size or CRC32C differs from the local file's.
        BucketUnavailable
    """
    with gcs.errors(artifact.name):
        blob = gcs.open_bucket().blob(_object_of(artifact), generation=artifact.generation)
        blob.reload(timeout=gcs.TIMEOUT_S, retry=gcs.retry())
    if (blob.size, blob.crc32c) != (artifact.size, gcs.crc32c_of(ensure_local(artifact))):
        raise ArtifactCorrupt(f"{artifact.name}: the bucket holds other bytes than the ones that were published.")


def _object_of(artifact: Artifact) -> str:
    return artifact.uri.split("/", 3)[3]


def _download(artifact: Artifact, file: _Verifying) -> None:
    with gcs.errors(artifact.name):
        blob = gcs.open_bucket().blob(_object_of(artifact), generation=artifact.generation)
        blob.download_to_file(file, checksum="crc32c", timeout=gcs.TIMEOUT_S, retry=gcs.retry())
    if file.size != artifact.size:
        raise ArtifactCorrupt(f"{artifact.name}: {file.size} bytes came, {artifact.size} were expected.")


class _Verifying:
    """A file that counts what is written, stops at the size expected and reports progress."""

    def __init__(self, file: Any, artifact: Artifact, progress: Progress | None) -> None:
        self._file, self._artifact, self._progress = file, artifact, progress
        self.size = 0

    def write(self, data: bytes) -> int:
        self.size += len(data)
        if self.size > self._artifact.size:
            raise ArtifactCorrupt(f"{self._artifact.name}: more bytes came than the {self._artifact.size} expected.")
        if self._progress:
            self._progress(self.size, self._artifact.size)
        return int(self._file.write(data))


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish(
    path: Path,
    name: str,
    *,
    kind: str,
    family: str,
    contract: dict[str, Any],
    weights_licence: str = "",
    training_data: str = "",
    commercial_use: str = Artifact.CommercialUse.UNKNOWN,
    citation: str = "",
    progress: Progress | None = None,
) -> tuple[Artifact, bool]:
    """Put a model file into the bucket and its row into the database.

    The object is created, never overwritten. The same bytes again are a no-op; an object that got lost is uploaded
    again and its new generation pinned.

    Args:
        path: the ONNX file.
        name: the artifact's name; the object is `<prefix><name>.onnx`.
        contract: as `InputContract.to_json` for an embedder; the file is loaded and checked against it.

    Returns: the row, and whether anything was uploaded.

    Raises:
        NameTaken: other bytes have this name, or these bytes another name or family.
        ArtifactRejected, InferenceFailed: the file is not what the contract says, has collapsed, or answers otherwise
            on another processor.
        InvalidRequest: the name cannot be one, or the file not be read.
        BucketUnavailable
    """
    if not _NAME.fullmatch(name):
        raise InvalidRequest(f"{name!r} is no name for an artifact: up to 100 letters, digits, dots, _ and -.")
    try:
        sha256 = sha256_of(path)
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror}.") from error
    known = _published(name, sha256, kind, family)
    if known is None:
        measured = _measure(path, kind, contract)
    generation, uploaded = _upload(path, object_name(name), sha256, known.generation if known else None, progress)
    if known is not None:
        if known.generation != generation:
            Artifact.objects.filter(pk=known.pk).update(generation=generation)
            known.generation = generation
        return known, uploaded
    facts = {
        "kind": kind,
        "family": family,
        "uri": f"gs://{conf.get('BUCKET')}/{object_name(name)}",
        "generation": generation,
        "size": path.stat().st_size,
        "contract": contract,
        "weights_licence": weights_licence,
        "training_data": training_data,
        "commercial_use": commercial_use if commercial_use in Artifact.CommercialUse.values else "unknown",
        "citation": citation,
    }
    artifact, _ = Artifact.objects.get_or_create(name=name, sha256=sha256, defaults={**facts, **measured})
    return artifact, uploaded


def _published(name: str, sha256: str, kind: str, family: str) -> Artifact | None:
    """The row of these bytes under this name."""
    rows = list(Artifact.objects.filter(Q(name=name) | Q(sha256=sha256)))
    for known in rows:
        if (known.name, known.sha256) != (name, sha256):
            raise NameTaken(f"{name} cannot be published: {known.name} is published with sha256 {known.sha256[:12]}….")
        if (known.kind, known.family) != (kind, family):
            raise NameTaken(f"{name} is published as {known.kind} of the family {known.family}, and stays that.")
    return rows[0] if rows else None


def _measure(path: Path, kind: str, contract: dict[str, Any]) -> dict[str, Any]:
    if not is_whole(path):
        raise ContractMismatch(f"{path.name} keeps weights in another file: take them in with import_model.")
    if kind not in KINDS:
        raise ContractMismatch(f"{path.name} is of the kind {kind}; this build knows {', '.join(KINDS)}.")
    return KINDS[kind].measure(path, contract)


def _upload(path: Path, name: str, sha256: str, pinned: int | None, progress: Progress | None) -> tuple[int, bool]:
    """Create the object, or find these very bytes there. Returns its generation and whether it was created.

    Args:
        pinned: a generation that was proven to have these bytes.
    """
    from google.api_core.exceptions import PreconditionFailed

    found = _generation_of_same_bytes(name, sha256, pinned)
    if found is not None:
        return found, False
    try:
        return gcs.create(path, name, sha256, progress), True
    except PreconditionFailed:  # somebody else published between our look and our upload
        found = _generation_of_same_bytes(name, sha256, pinned)
        if found is None:
            raise
        return found, False


def _generation_of_same_bytes(name: str, sha256: str, pinned: int | None) -> int | None:
    """The generation of the object that is there, None where there is none.

    Raises:
        NameTaken: it has other bytes.
    """
    with gcs.errors(name):
        blob = gcs.open_bucket().get_blob(name, timeout=gcs.TIMEOUT_S, retry=gcs.retry())
        if blob is None:
            return None
        generation = int(blob.generation)
        if generation != pinned and gcs.sha256_of(blob) != sha256:
            raise NameTaken(f"The bucket has other bytes under {name}. Publish under a new name.")
        return generation
