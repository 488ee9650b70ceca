"""Google Cloud Storage: an object is created once, in pieces that survive a lost connection, and read back.

Imported on first use, by its dotted path: Google's packages cost a second that `migrate` and `check` need not pay.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import requests
from google.api_core import exceptions as google
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError
from google.cloud.storage import Blob, Bucket, Client
from google.cloud.storage.exceptions import DataCorruption
from google.cloud.storage.retry import DEFAULT_RETRY

from .. import conf
from ..exceptions import ArtifactCorrupt, ArtifactMissing, BucketUnavailable, ObjectExists
from .bucket_trouble import NOT_UNDERSTOOD, is_page, no_bucket, no_credentials, reason_of, trouble, unreachable
from .storage import Progress, StoredObject, Writable, crc32c_of, stored_sha256

TIMEOUT_S = 20.0
# up to here a file is sent whole; the bucket takes multiples of 256 KiB
PIECE_BYTES = 8 * 1024 * 1024
# failures in a row, each waited for twice as long as the one before
_TRIES, FIRST_WAIT_S = 6, 0.5


class GcsStorage:
    """The bucket that `ML_MODELS["BUCKET"]` names, at Google or at the emulator in STORAGE_EMULATOR_HOST.

    A pinned generation outlives a replacement where the bucket keeps versions. A large upload that was interrupted,
    in this process or in one that is gone, goes on where the bucket last said it was.
    """

    @property
    def root(self) -> str:
        return f"gs://{conf.get('BUCKET')}/"

    def stat(self, name: str, generation: int | None = None) -> StoredObject:
        with _errors(name, generation):
            blob = open_bucket().blob(name, generation=generation)
            blob.reload(timeout=TIMEOUT_S, retry=_retry())
            claimed = str((blob.metadata or {}).get("sha256", ""))
            return StoredObject(int(blob.generation), int(blob.size), str(blob.crc32c), claimed)

    def create(self, path: Path, name: str, sha256: str, progress: Progress | None = None) -> StoredObject:
        with _errors(name):
            bucket, crc32c, size = open_bucket(), crc32c_of(path), path.stat().st_size
            blob = bucket.blob(name)
            blob.metadata, blob.crc32c = {"sha256": sha256}, crc32c
            send = _send_whole if size <= PIECE_BYTES else _send_in_pieces
            try:
                with path.open("rb") as file:
                    generation, arrived = send(blob, file, size, progress)
            except google.BadRequest as error:  # what it says to other bytes than their checksum
                if is_page(error):
                    raise
                raise ArtifactCorrupt(
                    f"The bucket refuses {name}: {reason_of(error)}. Publish it once more."
                ) from error
            if arrived != crc32c or stored_sha256(self, name, generation) != sha256:
                raise ArtifactCorrupt(_delete(bucket.blob(name, generation=generation)))
        return StoredObject(generation, size, arrived, sha256)

    def download(self, name: str, generation: int, file: Writable) -> None:
        with _errors(name, generation):
            blob = open_bucket().blob(name, generation=generation)
            blob.download_to_file(file, checksum="crc32c", timeout=TIMEOUT_S, retry=_retry())


def _delete(damaged: Blob) -> str:
    """Delete a generation that arrived damaged. Returns: what is to be said of it."""
    try:
        damaged.delete(if_generation_match=damaged.generation, timeout=TIMEOUT_S, retry=_retry())
    except google.Forbidden:
        return (
            f"{damaged.name} arrived damaged, and this service account may not delete it. Delete its generation"
            f" {damaged.generation}, then publish it once more."
        )
    return f"{damaged.name} arrived damaged and was deleted again. Publish it once more."


def open_bucket() -> Bucket:
    name = conf.get("BUCKET")
    try:
        if os.environ.get("STORAGE_EMULATOR_HOST"):
            client = Client(project="emulated", credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]
        else:
            client = Client(project=None)  # a bucket is asked by its name, whosever project it is of
    except OSError as error:  # the key file; as an OSError it would pass for one of the caller's own file
        raise BucketUnavailable(no_credentials(str(error))) from error
    except NOT_UNDERSTOOD as error:
        key = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS", "the file of gcloud")
        raise BucketUnavailable(no_credentials(f"{key} is not what Google writes ({type(error).__name__})")) from error
    try:
        return client.bucket(name)
    except ValueError as error:
        raise BucketUnavailable(
            f"{name!r} cannot be a bucket's name: {error} Set ML_MODELS['BUCKET'], or ML_MODELS['STORAGE'] if it is a"
            " folder."
        ) from error


def _retry() -> Any:
    return DEFAULT_RETRY.with_timeout(TIMEOUT_S)


@contextmanager
def _errors(name: str, generation: int | None = None) -> Iterator[None]:
    """Turn what the client raises into our own errors."""
    try:
        yield
    except google.NotFound as error:
        if is_page(error):
            raise BucketUnavailable(trouble(name, error)) from error
        raise ArtifactMissing(_missing(name, generation)) from error
    except google.PreconditionFailed as error:
        raise ObjectExists(f"The bucket {conf.get('BUCKET')} has a {name} already.") from error
    except DataCorruption as error:
        raise ArtifactCorrupt(f"The download of {name} was damaged on the way. Try again.") from error
    except (google.GoogleAPIError, GoogleAuthError, requests.RequestException, ConnectionError) as error:
        raise BucketUnavailable(trouble(name, error)) from error
    except OSError as error:
        if error.errno is not None:  # of the caller's own file
            raise
        raise BucketUnavailable(unreachable(name, str(error).rstrip("."))) from error  # no certificates where set
    except NOT_UNDERSTOOD as error:
        raise BucketUnavailable(no_bucket(name, f"its answer cannot be read ({type(error).__name__})")) from error


def _missing(name: str, generation: int | None) -> str:
    bucket = conf.get("BUCKET")
    # a 404 alone does not tell a bucket from an object
    try:
        next(iter(open_bucket().list_blobs(max_results=1, timeout=TIMEOUT_S, retry=_retry())), None)
    except google.NotFound:
        return f"There is no bucket {bucket}. Create it, or set ML_MODELS['BUCKET']."
    except (google.GoogleAPIError, GoogleAuthError, requests.RequestException):
        pass  # the account may not list, or the line broke: what is known of the object is said below
    pinned = "" if generation is None else f" of generation {generation}"
    return f"The bucket {bucket} has no {name}{pinned}. Publish it with publish_model."


def _send_whole(blob: Blob, file: IO[bytes], size: int, progress: Progress | None) -> tuple[int, str]:
    blob.upload_from_file(file, size=size, if_generation_match=0, checksum=None, timeout=TIMEOUT_S, retry=_retry())
    if progress:
        progress(size, size)
    return int(blob.generation or 0), str(blob.crc32c)


def _send_in_pieces(blob: Blob, file: IO[bytes], size: int, progress: Progress | None) -> tuple[int, str]:
    """A resumable upload (cloud.google.com/storage/docs/performing-resumable-uploads).

    How far it got is kept beside the cached model files until the object is there, readable for us alone: whoever
    knows its address may finish it. A piece of which we do not know whether it arrived is sent again; the bucket
    passes over what it has.
    """
    upload, failures = _Upload.resume_or_begin(blob, size), 0
    while True:
        before = upload.sent
        file.seek(before)
        try:
            done = upload.put(file.read(PIECE_BYTES))
        except (requests.ConnectionError, requests.Timeout, google.ServerError, google.TooManyRequests):
            failures += 1
            if failures == _TRIES:
                raise
            time.sleep(FIRST_WAIT_S * 2 ** (failures - 1))
            continue
        except google.GoogleAPICallError as error:
            upload.forget()
            failures += 1
            if error.code not in (404, 410) or failures == _TRIES:
                raise
            upload = _Upload.resume_or_begin(blob, size)  # the bucket keeps an upload for a week
            continue
        if done is None and upload.sent <= before:
            failures += 1
            if failures == _TRIES:
                raise BucketUnavailable(unreachable(str(blob.name), f"it keeps {before} of {size} bytes and no more"))
            time.sleep(FIRST_WAIT_S * 2 ** (failures - 1))
            continue
        failures = 0
        if progress:
            progress(size if done else upload.sent, size)
        if done:
            upload.forget()
            return done


@dataclass
class _Upload:
    url: str
    sent: int
    size: int
    note: Path

    @classmethod
    def resume_or_begin(cls, blob: Blob, size: int) -> _Upload:
        place = f"{blob.client.api_endpoint}/{blob.bucket.name}/{blob.name}"
        key = hashlib.sha256(f"{place}/{blob.crc32c}/{size}".encode()).hexdigest()
        note = conf.cache_dir() / f".upload-{key}.json"
        if (kept := _kept(note)) and 0 <= kept[1] <= size:
            return cls(*kept, size, note)
        url = blob.create_resumable_upload_session(
            size=size, if_generation_match=0, checksum=None, timeout=TIMEOUT_S, retry=_retry()
        )
        upload = cls(str(url), 0, size, note)
        upload._keep()
        return upload

    def put(self, piece: bytes) -> tuple[int, str] | None:
        """Send what follows `sent`. Returns the object's generation and CRC32C once the bucket has all of it."""
        last = self.sent + len(piece) - 1
        headers = {"Content-Range": f"bytes {self.sent}-{last}/{self.size}"}
        answer = requests.put(self.url, data=piece, headers=headers, timeout=TIMEOUT_S)
        if answer.status_code in (200, 201):
            facts = answer.json()
            return int(facts["generation"]), str(facts["crc32c"])
        if answer.status_code != 308:
            raise google.from_http_response(answer)  # type: ignore[no-untyped-call]
        has = answer.headers.get("Range")  # "bytes=0-LAST", absent while it has nothing
        sent = int(has.rsplit("-", 1)[1]) + 1 if has else 0
        if not 0 <= sent <= self.size:
            raise ValueError(has)
        self.sent = sent
        self._keep()
        return None

    def forget(self) -> None:
        with contextlib.suppress(OSError):
            self.note.unlink(missing_ok=True)

    def _keep(self) -> None:
        with contextlib.suppress(OSError):  # a full disk costs another process its resuming, and nothing else
            self.note.parent.mkdir(parents=True, exist_ok=True)
            self.note.touch(mode=0o600)
            self.note.write_text(json.dumps({"url": self.url, "sent": self.sent}))


def _kept(note: Path) -> tuple[str, int] | None:
    """The address and how far it got; None where nothing is kept, or half of it: by a killed process, say."""
    try:
        kept = json.loads(note.read_text())
        return str(kept["url"]), int(kept["sent"])
    except (OSError, *NOT_UNDERSTOOD):
        return None
