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
from google.auth.exceptions import GoogleAuthError, TransportError
from google.cloud.storage import Blob, Bucket, Client
from google.cloud.storage.exceptions import DataCorruption
from google.cloud.storage.retry import DEFAULT_RETRY

from .. import conf
from ..exceptions import ArtifactCorrupt, ArtifactMissing, BucketUnavailable, ObjectExists
from .storage import Progress, StoredObject, Writable, crc32c_of, stored_sha256

TIMEOUT_S = 20.0
# up to here a file is sent whole; the bucket takes multiples of 256 KiB
PIECE_BYTES = 8 * 1024 * 1024
# failures in a row, each waited for twice as long as the one before
_TRIES, FIRST_WAIT_S = 6, 0.5
# what Google's packages, and we, raise where a key file or an answer has not the form that they expect of it
_NOT_UNDERSTOOD = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError)
_REASON_CHARACTERS = 300


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
                if _is_page(error):
                    raise
                raise ArtifactCorrupt(f"The bucket refuses {name}: {_reason(error)}. Publish it once more.") from error
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
        raise BucketUnavailable(_no_credentials(str(error))) from error
    except _NOT_UNDERSTOOD as error:
        key = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS", "the file of gcloud")
        raise BucketUnavailable(_no_credentials(f"{key} is not what Google writes ({type(error).__name__})")) from error
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
        if _is_page(error):
            raise BucketUnavailable(_trouble(name, error)) from error
        raise ArtifactMissing(_missing(name, generation)) from error
    except google.PreconditionFailed as error:
        raise ObjectExists(f"The bucket {conf.get('BUCKET')} has a {name} already.") from error
    except DataCorruption as error:
        raise ArtifactCorrupt(f"The download of {name} was damaged on the way. Try again.") from error
    except (google.GoogleAPIError, GoogleAuthError, requests.RequestException, ConnectionError) as error:
        raise BucketUnavailable(_trouble(name, error)) from error
    except OSError as error:
        if error.errno is not None:  # of the caller's own file
            raise
        raise BucketUnavailable(_unreachable(name, str(error).rstrip("."))) from error  # no certificates where set
    except _NOT_UNDERSTOOD as error:
        raise BucketUnavailable(_no_bucket(name, f"its answer cannot be read ({type(error).__name__})")) from error


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


def _trouble(name: str, error: Exception) -> str:
    """Whether the bucket refused, could not be reached, or had no usable credentials; and the next step."""
    bucket = conf.get("BUCKET")
    cause = error.cause if isinstance(error, google.RetryError) and error.cause else error
    status = getattr(getattr(cause, "response", None), "status_code", None)
    if status == 401:
        return _no_credentials(_reason(cause))
    if isinstance(cause, GoogleAuthError) and not (isinstance(cause, TransportError) or cause.retryable):
        return _no_credentials(_reason(cause))
    if isinstance(cause, TransportError) and isinstance(cause.__cause__, ValueError):
        return _no_credentials(f"their token_uri is no address ({_kind(cause)})")
    if _is_page(cause):
        return _no_bucket(name, f"it sends a web page ({status})")
    if isinstance(cause, requests.JSONDecodeError):
        return _no_bucket(name, "its answer is no JSON")
    if status and status < 400:
        return _no_bucket(name, f"it answers {status}")
    if status is None or status in (408, 429) or status >= 500:
        reason = f"it answers {status}" if status else _kind(cause)
        return _unreachable(name, reason)
    if status == 403:
        return (
            f"The bucket {bucket} refuses {name}: {_reason(cause)} (403). Give this service account the role"
            " storage.objectViewer, or storage.objectUser to publish."
        )
    return f"The bucket {bucket} refuses {name}: {_reason(cause)}. Check ML_MODELS['BUCKET'] and ML_MODELS['PREFIX']."


def _unreachable(name: str, reason: str) -> str:
    return (
        f"The bucket {conf.get('BUCKET')} cannot be reached for {name}: {reason}. Check the network, and"
        " STORAGE_EMULATOR_HOST if it is set; then try again."
    )


def _no_bucket(name: str, why: str) -> str:
    return (
        f"What was asked for {name} does not answer as the bucket {conf.get('BUCKET')}: {why}. Look whether a proxy or"
        " a log-in page stands between, and at STORAGE_EMULATOR_HOST if it is set; then try again."
    )


def _is_page(error: Exception) -> bool:
    """Whether a refusal is a web page: neither the bucket nor Google's other servers send one."""
    answer = getattr(error, "response", None)
    return isinstance(answer, requests.Response) and _begins_a_page(answer.text)


def _begins_a_page(text: str) -> bool:
    return text[:_REASON_CHARACTERS].lstrip().lower().startswith(("<!doctype", "<html"))


def _no_credentials(reason: str) -> str:
    return (
        f"The bucket {conf.get('BUCKET')} needs credentials, and there are no usable ones: {reason.rstrip('.')}. Set"
        " GOOGLE_APPLICATION_CREDENTIALS to a service account's key file, or run where an account is attached."
    )


def _reason(error: Exception) -> str:
    """Google's own words, without the request around them."""
    answer = getattr(error, "response", None)
    text = answer.text if answer is not None else str(error.args[0] if error.args else error)
    if _begins_a_page(text):
        return "a web page came in place of an answer, perhaps a proxy's"
    with contextlib.suppress(*_NOT_UNDERSTOOD):
        text = str(answer.json()["error"]["message"])  # type: ignore[union-attr]
    return " ".join(text.split())[:_REASON_CHARACTERS].rstrip(".") or "it gives no reason"


def _kind(error: Exception) -> str:
    """`ConnectionError`, `ReadTimeout`, `SSLError`, …: requests' own class, also behind google.auth's."""
    return type(error.__cause__ if isinstance(error, TransportError) and error.__cause__ else error).__name__


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
                raise BucketUnavailable(_unreachable(str(blob.name), f"it keeps {before} of {size} bytes and no more"))
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
    except (OSError, *_NOT_UNDERSTOOD):
        return None
