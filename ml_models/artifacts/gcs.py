"""The bucket: create an object once, in pieces that survive a lost connection, and hash what lies there."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from .. import conf
from ..exceptions import ArtifactCorrupt, ArtifactMissing, BucketUnavailable

if TYPE_CHECKING:
    from google.cloud.storage import Blob, Bucket

Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all)."""

TIMEOUT_S = 20.0
# up to here a file is sent whole; the bucket takes multiples of 256 KiB
PIECE_BYTES = 8 * 1024 * 1024
# failures in a row, each waited for twice as long as the one before
_TRIES, FIRST_WAIT_S = 6, 0.5


def open_bucket() -> Bucket:
    # imported on use: it costs a second that `migrate` and `check` need not pay
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    if os.environ.get("STORAGE_EMULATOR_HOST"):
        client = storage.Client(project="emulated", credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]
    else:
        client = storage.Client()
    return client.bucket(conf.get("BUCKET"))


@contextmanager
def errors(what: str) -> Iterator[None]:
    """Turn what the client raises into our own errors; a failed precondition passes."""
    import requests
    from google.api_core import exceptions as google
    from google.auth.exceptions import GoogleAuthError
    from google.cloud.storage.exceptions import DataCorruption

    try:
        yield
    except google.NotFound as error:
        raise ArtifactMissing(
            f"The bucket {conf.get('BUCKET')} has no {what}, or does not exist. Publish it with publish_model."
        ) from error
    except google.BadRequest as error:  # what it says to other bytes than their checksum
        raise ArtifactCorrupt(f"The bucket refuses {what}: {error.message}") from error
    except DataCorruption as error:
        raise ArtifactCorrupt(f"The download of {what} was damaged on the way.") from error
    except google.PreconditionFailed:
        raise
    except (google.GoogleAPIError, GoogleAuthError, requests.RequestException, OSError) as error:
        if isinstance(error, OSError) and not isinstance(error, requests.RequestException | ConnectionError):
            raise
        raise BucketUnavailable(f"The bucket {conf.get('BUCKET')} cannot be reached for {what}.") from error


def retry() -> Any:
    from google.cloud.storage.retry import DEFAULT_RETRY

    return DEFAULT_RETRY.with_timeout(TIMEOUT_S)


def crc32c_of(path: Path) -> str:
    """CRC32C of a file as the bucket writes it: base64 of four big-endian bytes."""
    import google_crc32c

    checksum: Any = google_crc32c.Checksum()
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            checksum.update(piece)
    return base64.b64encode(checksum.digest()).decode()


def sha256_of(blob: Blob, progress: Progress | None = None) -> str:
    """SHA-256 (hex) of an object's bytes as the bucket gives them back; nothing is kept."""
    sink = _Hashing(blob.size or 0, progress)
    blob.download_to_file(sink, checksum="crc32c", timeout=TIMEOUT_S, retry=retry())
    return sink.digest.hexdigest()


class _Hashing:
    def __init__(self, size: int, progress: Progress | None) -> None:
        self.digest, self._done, self._size, self._progress = hashlib.sha256(), 0, size, progress

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self._done += len(data)
        if self._progress:
            self._progress(self._done, self._size)
        return len(data)


def create(path: Path, name: str, sha256: str, progress: Progress | None = None) -> int:
    """Upload a file as a new object, and prove that the bucket has it whole. Returns the object's generation.

    A large upload that was interrupted, here or in a process that is gone, goes on where the bucket last said it was.

    Raises:
        PreconditionFailed (google.api_core): the object exists.
        ArtifactCorrupt: the bucket has other bytes than were sent; they are deleted again.
        BucketUnavailable
    """
    with errors(name):
        bucket, crc32c, size = open_bucket(), crc32c_of(path), path.stat().st_size
        blob = bucket.blob(name)
        blob.metadata, blob.crc32c = {"sha256": sha256}, crc32c
        send = _send_whole if size <= PIECE_BYTES else _send_in_pieces
        with path.open("rb") as file:
            generation, arrived = send(blob, file, size, progress)
        stored = bucket.blob(name, generation=generation)
        if arrived != crc32c or sha256_of(stored) != sha256:
            stored.delete(if_generation_match=generation, timeout=TIMEOUT_S, retry=retry())
            raise ArtifactCorrupt(f"{name} arrived damaged and was deleted again. Publish it once more.")
    return generation


def _send_whole(blob: Blob, file: IO[bytes], size: int, progress: Progress | None) -> tuple[int, str]:
    blob.upload_from_file(file, size=size, if_generation_match=0, checksum=None, timeout=TIMEOUT_S, retry=retry())
    if progress:
        progress(size, size)
    return int(blob.generation or 0), str(blob.crc32c)


def _send_in_pieces(blob: Blob, file: IO[bytes], size: int, progress: Progress | None) -> tuple[int, str]:
    """A resumable upload (cloud.google.com/storage/docs/performing-resumable-uploads).

    How far it got is kept beside the cached model files until the object is there, readable for us alone: whoever
    knows its address may finish it. A piece of which we do not know whether it arrived is sent again; the bucket
    passes over what it has.
    """
    import requests
    from google.api_core import exceptions as google

    upload, failures = _Upload.resume_or_begin(blob, size), 0
    while True:
        file.seek(upload.sent)
        try:
            facts = upload.put(file.read(PIECE_BYTES))
        except google.GoogleAPICallError as error:
            upload.forget()
            failures += 1
            if error.code not in (404, 410) or failures == _TRIES:
                raise
            upload = _Upload.resume_or_begin(blob, size)  # the bucket keeps an upload for a week
            continue
        except (requests.ConnectionError, requests.Timeout):
            failures += 1
            if failures == _TRIES:
                raise
            time.sleep(FIRST_WAIT_S * 2 ** (failures - 1))
            continue
        failures = 0
        if progress:
            progress(size if facts else upload.sent, size)
        if facts:
            upload.forget()
            return int(facts["generation"]), str(facts["crc32c"])


@dataclass
class _Upload:
    url: str
    sent: int
    size: int
    note: Path

    @classmethod
    def resume_or_begin(cls, blob: Blob, size: int) -> _Upload:
        key = hashlib.sha256(f"{blob.bucket.name}/{blob.name}/{blob.crc32c}/{size}".encode()).hexdigest()
        note = conf.cache_dir() / f".upload-{key}.json"
        if note.is_file():
            return cls(size=size, note=note, **json.loads(note.read_text()))
        url = blob.create_resumable_upload_session(
            size=size, if_generation_match=0, checksum=None, timeout=TIMEOUT_S, retry=retry()
        )
        upload = cls(str(url), 0, size, note)
        upload._keep()
        return upload

    def put(self, piece: bytes) -> dict[str, Any] | None:
        """Send what follows `sent`. Returns the object's facts once the bucket has all of it."""
        import requests
        from google.api_core import exceptions as google

        last = self.sent + len(piece) - 1
        headers = {"Content-Range": f"bytes {self.sent}-{last}/{self.size}"}
        answer = requests.put(self.url, data=piece, headers=headers, timeout=TIMEOUT_S)
        if answer.status_code in (200, 201):
            return dict(answer.json())
        if answer.status_code == 429 or answer.status_code >= 500:
            raise requests.ConnectionError(f"the bucket answers {answer.status_code}")
        if answer.status_code != 308:
            raise google.from_http_response(answer)  # type: ignore[no-untyped-call]
        has = answer.headers.get("Range")  # "bytes=0-LAST", absent while it has nothing
        self.sent = int(has.rsplit("-", 1)[1]) + 1 if has else 0
        self._keep()
        return None

    def forget(self) -> None:
        self.note.unlink(missing_ok=True)

    def _keep(self) -> None:
        self.note.parent.mkdir(parents=True, exist_ok=True)
        self.note.touch(mode=0o600)
        self.note.write_text(json.dumps({"url": self.url, "sent": self.sent}))
