"""Model files: the bucket ↔ a verified local file. Only bytes that hash to what the database says get through."""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.db import transaction

from . import conf
from .engine.embed import Embedder, golden_vectors
from .engine.graph import graph_digest
from .engine.types import InputContract
from .exceptions import ArtifactCorrupt, ArtifactMissing, BucketUnavailable, NameTaken
from .models import Artifact

if TYPE_CHECKING:
    from google.cloud.storage import Blob, Bucket

Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all)."""

_TIMEOUT_S = 20.0
_CHUNK_BYTES = 1024 * 1024


def object_name(name: str) -> str:
    """Where an artifact lies in the bucket."""
    return f"{conf.get('PREFIX')}{name}.onnx"


def _bucket() -> Bucket:
    # imported on use: it costs a second that `migrate` and `check` need not pay
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    if os.environ.get("STORAGE_EMULATOR_HOST"):
        client = storage.Client(project="emulated", credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]
    else:
        client = storage.Client()
    return client.bucket(conf.get("BUCKET"))


@contextmanager
def _bucket_errors(what: str) -> Iterator[None]:
    import requests
    from google.api_core import exceptions as google
    from google.auth.exceptions import GoogleAuthError
    from google.cloud.storage.exceptions import DataCorruption

    try:
        yield
    except google.NotFound as error:
        raise ArtifactMissing(f"The bucket has no {what}. Publish it again with publish_model.") from error
    except DataCorruption as error:
        raise ArtifactCorrupt(f"The download of {what} was damaged on the way.") from error
    except google.PreconditionFailed:
        raise
    except (google.GoogleAPIError, GoogleAuthError, requests.RequestException, OSError) as error:
        if isinstance(error, OSError) and not isinstance(error, requests.RequestException | ConnectionError):
            raise
        raise BucketUnavailable(f"The bucket {conf.get('BUCKET')} cannot be reached for {what}.") from error


def _retry() -> Any:
    from google.cloud.storage.retry import DEFAULT_RETRY

    return DEFAULT_RETRY.with_timeout(_TIMEOUT_S)


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
    """
    path = local_path(artifact)
    if path.exists() and sha256_of(path) == artifact.sha256:
        return path
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
    with _bucket_errors(artifact.name):
        blob = _bucket().blob(_object_of(artifact), generation=artifact.generation)
        blob.reload(timeout=_TIMEOUT_S, retry=_retry())
    if (blob.size, blob.crc32c) != (artifact.size, _crc32c_of(ensure_local(artifact))):
        raise ArtifactCorrupt(f"{artifact.name}: the bucket holds other bytes than the ones that were published.")


def _crc32c_of(path: Path) -> str:
    """As the bucket says it: base64 of the big-endian CRC32C."""
    from google_crc32c import Checksum

    digest = Checksum()
    with path.open("rb") as file:
        for _ in digest.consume(file, _CHUNK_BYTES):
            pass
    return base64.b64encode(digest.digest()).decode()


def _object_of(artifact: Artifact) -> str:
    return artifact.uri.split("/", 3)[3]


def _download(artifact: Artifact, file: _Verifying) -> None:
    with _bucket_errors(artifact.name):
        blob = _bucket().blob(_object_of(artifact), generation=artifact.generation)
        blob.download_to_file(file, checksum="crc32c", timeout=_TIMEOUT_S, retry=_retry())
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
    golden_min_cosine: float = 0.9999,
    progress: Progress | None = None,
) -> tuple[Artifact, bool]:
    """Put a model file into the bucket and its row into the database.

    The object is created, never overwritten. The same bytes again are a no-op; an object that got lost is uploaded
    again and its new generation pinned.

    Args:
        path: the ONNX file.
        name: the artifact's name; the object is `<prefix><name>.onnx`.
        contract: as `InputContract.to_json` for an embedder; the file is loaded and checked against it.
        golden_min_cosine: what a process must reach on the golden crops to load the file.

    Returns: the row, and whether anything was uploaded.

    Raises:
        NameTaken: other bytes have this name, or these bytes another name.
        ContractMismatch, InferenceFailed: the file is not what the contract says.
        BucketUnavailable
    """
    sha256 = sha256_of(path)
    for known in Artifact.objects.filter(name=name) | Artifact.objects.filter(sha256=sha256):
        if (known.name, known.sha256) != (name, sha256):
            raise NameTaken(f"{name} cannot be published: {known.name} is published with sha256 {known.sha256[:12]}….")
    measured = _measure(path, kind, contract)
    generation, uploaded = _upload(path, object_name(name), sha256, progress)
    facts = {
        "kind": kind,
        "family": family,
        "uri": f"gs://{conf.get('BUCKET')}/{object_name(name)}",
        "generation": generation,
        "size": path.stat().st_size,
        "contract": contract,
        "weights_licence": weights_licence,
        "training_data": training_data,
        "commercial_use": commercial_use,
        "citation": citation,
        "golden_min_cosine": golden_min_cosine,
    }
    with transaction.atomic():
        artifact, created = Artifact.objects.get_or_create(name=name, sha256=sha256, defaults={**facts, **measured})
        if not created and artifact.generation != generation:
            Artifact.objects.filter(pk=artifact.pk).update(generation=generation)
            artifact.generation = generation
    return artifact, uploaded


def _measure(path: Path, kind: str, contract: dict[str, Any]) -> dict[str, Any]:
    if kind == Artifact.Kind.DETECTOR:
        return {"graph_sha256": graph_digest(path)}
    embedder = Embedder(path, InputContract.from_json(contract))
    golden = golden_vectors(embedder)
    return {
        "graph_sha256": graph_digest(path),
        "dimension": embedder.contract.dimension,
        "golden": golden.astype("<f4").tobytes(),
    }


def _upload(path: Path, name: str, sha256: str, progress: Progress | None) -> tuple[int, bool]:
    """Create the object, or find these very bytes there. Returns its generation and whether it was created."""
    from google.api_core.exceptions import PreconditionFailed

    with _bucket_errors(name):
        bucket = _bucket()
        existing = bucket.get_blob(name, timeout=_TIMEOUT_S, retry=_retry())
        if existing is not None:
            return _same_bytes(existing, sha256), False
        blob = bucket.blob(name, chunk_size=8 * _CHUNK_BYTES)
        blob.metadata = {"sha256": sha256}
        try:
            with path.open("rb") as file:
                size = path.stat().st_size
                blob.upload_from_file(
                    _Reporting(file, size, progress) if progress else file,
                    size=size,
                    if_generation_match=0,
                    checksum="crc32c",
                    timeout=_TIMEOUT_S,
                    retry=_retry(),
                )
        except PreconditionFailed:  # somebody else published between our look and our upload
            return _same_bytes(bucket.get_blob(name), sha256), False
    return int(blob.generation), True


class _Reporting:
    def __init__(self, file: Any, size: int, progress: Progress) -> None:
        self._file, self._size, self._progress = file, size, progress

    def read(self, count: int = -1) -> bytes:
        data = bytes(self._file.read(count))
        self._progress(self._file.tell(), self._size)
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _same_bytes(blob: Blob, sha256: str) -> int:
    if hashlib.sha256(blob.download_as_bytes(timeout=_TIMEOUT_S)).hexdigest() != sha256:
        raise NameTaken(f"The bucket has other bytes under {blob.name}. Publish under a new name.")
    return int(blob.generation)
