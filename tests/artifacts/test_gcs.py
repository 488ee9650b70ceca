"""The bucket: an upload survives a lost line or leaves nothing behind, and trouble is named with its next step."""

from __future__ import annotations

import gc
import io
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pytest_django import Settings

from ml_models import artifacts, conf
from ml_models.artifacts import gcs
from ml_models.artifacts.storage import StoredObject
from ml_models.exceptions import ArtifactCorrupt, ArtifactError, ArtifactMissing, BucketUnavailable
from tests.artifacts.conftest import PIECE
from tests.support.flaky import Line, flaky_line


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Five pieces of bytes."""
    path = tmp_path / "file"
    path.write_bytes(os.urandom(4 * PIECE + 1000))
    return path


@pytest.fixture
def name(bucket: str) -> str:
    return f"{bucket}net.onnx"


def create(path: Path, name: str) -> StoredObject:
    return gcs.GcsStorage().create(path, name, artifacts.sha256_of(path))


def content(name: str) -> bytes | None:
    blob = gcs.open_bucket().get_blob(name)
    return None if blob is None else bytes(blob.download_as_bytes())


def flipped(data: bytes) -> bytes:
    """With another byte in the middle."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def test_an_upload_in_pieces_asks_for_a_new_object_too(line: Line, file: Path, name: str) -> None:
    """The emulator does not hold resumable uploads to their precondition as the bucket does: it can only be seen."""
    create(file, name)
    (began,) = line.posts
    assert "uploadType=resumable" in began
    assert "ifGenerationMatch=0" in began


def test_an_upload_goes_on_after_a_lost_connection(line: Line, file: Path, name: str) -> None:
    line.treat = lambda number, body: None if number in (2, 4) else body

    create(file, name)
    starts = [int(put.removeprefix("bytes ").split("-")[0]) for put in line.puts]
    assert starts == [0, PIECE, 2 * PIECE, 3 * PIECE, 4 * PIECE]  # no piece went over the line twice
    assert content(name) == file.read_bytes()


def test_an_upload_goes_on_after_the_bucket_had_no_time(line: Line, file: Path, name: str) -> None:
    busy = iter([503, 429, 500])
    line.answer = lambda method, path: (status, "{}") if method == "PUT" and (status := next(busy, 0)) else None
    create(file, name)
    assert len(line.puts) == 5
    assert content(name) == file.read_bytes()


def test_another_process_goes_on_where_the_last_one_stopped(line: Line, file: Path, name: str) -> None:
    line.treat = lambda number, body: None if number > 3 else body
    with pytest.raises(BucketUnavailable):
        create(file, name)
    assert content(name) is None
    (note,) = conf.cache_dir().glob(".upload-*")
    assert stat.S_IMODE(note.stat().st_mode) == 0o600  # whoever has the address may finish the upload

    line.treat = lambda number, body: body
    line.puts.clear()
    create(file, name)
    assert len(line.puts) == 2
    assert line.puts[0].startswith(f"bytes {3 * PIECE}-")
    assert content(name) == file.read_bytes()
    assert not list(conf.cache_dir().glob(".upload-*"))


def test_an_upload_to_another_address_does_not_go_on_with_this_one(
    line: Line, file: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    line.treat = lambda number, body: None if number > 3 else body
    with pytest.raises(BucketUnavailable):
        create(file, name)
    line.treat = lambda number, body: body
    with flaky_line(line.url) as moved:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", moved.url)
        create(file, name)
        assert len(moved.posts) == 1
        assert content(name) == file.read_bytes()


def test_an_upload_that_the_bucket_has_forgotten_begins_anew(line: Line, file: Path, name: str) -> None:
    line.treat = lambda number, body: None if number > 3 else body
    with pytest.raises(BucketUnavailable):
        create(file, name)
    (note,) = conf.cache_dir().glob(".upload-*")
    upload = json.loads(note.read_text())
    note.write_text(json.dumps({**upload, "url": upload["url"].split("upload_id=")[0] + "upload_id=0"}))

    line.treat = lambda number, body: body
    create(file, name)
    assert content(name) == file.read_bytes()


@pytest.mark.parametrize("pieces", [True, False], ids=["in pieces", "whole"])
def test_bytes_damaged_on_the_way_up_are_noticed_and_deleted_again(
    line: Line, file: Path, name: str, monkeypatch: pytest.MonkeyPatch, pieces: bool
) -> None:
    if pieces:
        line.treat = lambda number, body: flipped(body) if number == 2 else body
    else:
        monkeypatch.setattr(gcs, "PIECE_BYTES", 8 * 1024 * 1024)
        line.treat_post = flipped
    with pytest.raises(ArtifactCorrupt):
        create(file, name)
    assert content(name) is None


def test_damaged_bytes_that_may_not_be_deleted_are_named(line: Line, file: Path, name: str) -> None:
    line.treat = lambda number, body: flipped(body) if number == 2 else body
    line.answer = lambda method, path: (403, "{}") if method == "DELETE" else None
    with pytest.raises(ArtifactCorrupt, match="may not delete it") as refusal:
        create(file, name)
    assert str(gcs.open_bucket().get_blob(name).generation) in str(refusal.value)


def test_bytes_damaged_on_the_way_down_are_noticed(line: Line, file: Path, name: str) -> None:
    stored = create(file, name)
    line.treat_download = flipped
    with pytest.raises(ArtifactCorrupt, match="damaged on the way"):
        gcs.GcsStorage().download(name, stored.generation, io.BytesIO())


def says(message: str) -> str:
    """What the bucket answers when it refuses."""
    return json.dumps({"error": {"code": 403, "message": message, "errors": []}})


VERBS: dict[str, Callable[[Path, str], object]] = {
    "stat": lambda path, name: gcs.GcsStorage().stat(name, 7),
    "download": lambda path, name: gcs.GcsStorage().download(name, 7, io.BytesIO()),
    "create": create,
}
verbs = pytest.mark.parametrize("verb", VERBS)


def refusal(verb: str, path: Path, name: str, error: type[ArtifactError] = BucketUnavailable) -> str:
    with pytest.raises(error) as refusal:
        VERBS[verb](path, name)
    return str(refusal.value)


@verbs
def test_a_refusal_gives_its_reason_and_the_role_that_is_missing(line: Line, file: Path, name: str, verb: str) -> None:
    reason = "kiosk@school.iam.gserviceaccount.com does not have storage.objects.get access"
    line.answer = lambda method, path: (403, says(reason))
    message = refusal(verb, file, name)
    assert f"The bucket {conf.get('BUCKET')} refuses {name}: {reason} (403)." in message
    assert "storage.objectViewer" in message


@verbs
def test_a_request_that_the_bucket_does_not_understand_is_no_damaged_file(
    line: Line, file: Path, name: str, verb: str
) -> None:
    line.answer = lambda method, path: (400, says("Invalid bucket name"))
    error = ArtifactCorrupt if verb == "create" else BucketUnavailable  # bytes that are not their checksum get a 400
    assert f"refuses {name}: Invalid bucket name." in refusal(verb, file, name, error)


def test_credentials_that_the_bucket_rejects_are_named(line: Line, file: Path, name: str) -> None:
    line.answer = lambda method, path: (401, says("Invalid Credentials")) if method == "PUT" else None
    assert "no usable ones: Invalid Credentials. Set GOOGLE_APPLICATION_CREDENTIALS" in refusal("create", file, name)


# Google's client leaves the answers that it retries for the garbage collector to close
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@verbs
def test_a_bucket_that_is_out_of_order_is_told_from_one_that_refuses(
    line: Line, file: Path, name: str, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gcs, "TIMEOUT_S", 0.5)
    line.answer = lambda method, path: (503, "")
    assert f"cannot be reached for {name}: it answers 503." in refusal(verb, file, name)
    gc.collect()


@verbs
def test_a_bucket_that_nobody_answers_for_is_unreachable(
    bucket: str, file: Path, name: str, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:1")
    monkeypatch.setattr(gcs, "TIMEOUT_S", 0.5)
    message = refusal(verb, file, name)
    assert f"The bucket {conf.get('BUCKET')} cannot be reached for {name}: ConnectionError." in message
    assert "Check the network, and STORAGE_EMULATOR_HOST" in message


@verbs
def test_a_bucket_that_does_not_exist_is_told_from_an_object_that_does_not(
    bucket: str, file: Path, name: str, verb: str, settings: Settings
) -> None:
    if verb != "create":
        message = refusal(verb, file, name, ArtifactMissing)
        assert message == (
            f"The bucket {conf.get('BUCKET')} has no {name} of generation 7. Publish it with publish_model."
        )
    settings.ML_MODELS = {**settings.ML_MODELS, "BUCKET": "nobodys-bucket"}
    assert refusal(verb, file, name, ArtifactMissing).startswith("There is no bucket nobodys-bucket. ")


def test_an_object_is_missing_too_for_who_may_not_list_the_bucket(line: Line, file: Path, name: str) -> None:
    line.answer = lambda method, path: (403, says("no storage.objects.list access")) if "maxResults" in path else None
    assert "has no " in refusal("stat", file, name, ArtifactMissing)


def test_a_folder_given_as_the_bucket_is_named(bucket: str, file: Path, name: str, settings: Settings) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, "BUCKET": "/srv/models"}
    assert "'/srv/models' cannot be a bucket's name" in refusal("stat", file, name)


@pytest.fixture
def real_google(bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Path], None]:
    """No emulator: Google itself, with the credentials of a file. None of them lets a request leave this machine."""
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    monkeypatch.setattr(gcs, "TIMEOUT_S", 0.5)
    return lambda key: monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))


def key_file(path: Path, token_uri: str) -> Path:
    """A service account's key file as Google writes it, with a key made now."""
    key = rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    facts = {"client_email": "kiosk@school.test", "private_key": key.decode(), "token_uri": token_uri}
    path.write_text(json.dumps({"type": "service_account", "project_id": "school", **facts}))
    return path


@verbs
def test_credentials_that_are_missing_are_named(
    real_google: Callable[[Path], None], file: Path, name: str, verb: str, tmp_path: Path
) -> None:
    real_google(tmp_path / "absent.json")
    message = refusal(verb, file, name)
    assert "no usable ones: File " in message
    assert "absent.json was not found. Set GOOGLE_APPLICATION_CREDENTIALS" in message


def test_a_key_file_that_cannot_be_read_is_no_cache_that_cannot_be_written(
    real_google: Callable[[Path], None], file: Path, name: str, tmp_path: Path
) -> None:
    real_google(tmp_path)
    assert "no usable ones: [Errno 21] Is a directory" in refusal("stat", file, name)


def test_a_key_that_was_revoked_is_named(
    line: Line, real_google: Callable[[Path], None], file: Path, name: str, tmp_path: Path
) -> None:
    answer = {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
    line.answer = lambda method, path: (400, json.dumps(answer)) if path == "/token" else None
    real_google(key_file(tmp_path / "key.json", f"{line.url}/token"))
    assert "no usable ones: invalid_grant: Invalid JWT Signature. Set" in refusal("stat", file, name)


def test_a_token_server_that_nobody_answers_for_is_unreachable(
    real_google: Callable[[Path], None], file: Path, name: str, tmp_path: Path
) -> None:
    real_google(key_file(tmp_path / "key.json", "http://127.0.0.1:1/token"))
    assert f"cannot be reached for {name}: ConnectionError." in refusal("stat", file, name)


PAGE = "<!DOCTYPE html><html><title>Blocked</title>" + "x" * 5000


@verbs
@pytest.mark.parametrize("status", [302, 400, 403, 404, 407])
def test_a_page_of_a_proxy_is_no_answer_of_the_bucket(
    line: Line, file: Path, name: str, verb: str, status: int
) -> None:
    """Neither a role, nor another bucket, nor a second upload would help."""
    line.answer = lambda method, path: (status, PAGE)
    message = refusal(verb, file, name)
    assert (
        f"does not answer as the bucket {conf.get('BUCKET')}: it sends a web page ({status}). Look whether" in message
    )
    assert "html" not in message


@pytest.mark.parametrize("body", ["", "[]", "null", "{}", '"x"', '{"generation": "x"}', "[" * 100_000, PAGE])
def test_an_answer_that_is_not_the_buckets_is_named(line: Line, file: Path, name: str, body: str) -> None:
    line.answer = lambda method, path: (200, body)
    assert "does not answer as the bucket" in refusal("stat", file, name)
    line.answer = for_a_while(200, body)
    assert "does not answer as the bucket" in refusal("create", file, name)


def test_a_bucket_that_takes_no_bytes_is_not_sent_them_for_ever(line: Line, file: Path, name: str) -> None:
    line.answer = for_a_while(308, "")
    assert "it keeps 0 of 1049576 bytes and no more" in refusal("create", file, name)


def for_a_while(status: int, body: str) -> Callable[[str, str], tuple[int, str] | None]:
    """The answer to 20 pieces of an upload; who still sends is refused."""
    left = 20

    def answer(method: str, path: str) -> tuple[int, str] | None:
        nonlocal left
        if method != "PUT":
            return None
        left -= 1
        return (status, body) if left >= 0 else (403, says("it is still sending"))

    return answer


@pytest.mark.parametrize("body", ["", '{"error": "access_denied"}', json.dumps({"error": {"message": "a\n" * 2000}})])
def test_a_refusal_in_other_words_is_one_short_line(line: Line, file: Path, name: str, body: str) -> None:
    for method, verb in (("GET", "stat"), ("POST", "create"), ("PUT", "create")):

        def answer(asked: str, path: str, method: str = method) -> tuple[int, str] | None:
            return (403, body) if asked == method else None

        line.answer = answer
        message = refusal(verb, file, name)
        assert len(message) < 700
        assert "\n" not in message
        assert ":  (403)" not in message


@pytest.mark.parametrize(
    "kept", [b"", b"[]", b'{"url": 7}', b"\xff", b'{"url": "http://x", "sent": -5}', PAGE.encode()]
)
def test_a_damaged_note_of_an_upload_is_no_note(line: Line, file: Path, name: str, kept: bytes) -> None:
    """A killed process or a full disk leaves half of one."""
    line.treat = lambda number, body: None if number > 1 else body
    refusal("create", file, name)
    (note,) = conf.cache_dir().glob(".upload-*.json")
    note.write_bytes(kept)
    line.treat = lambda number, body: body
    create(file, name)
    assert content(name) == file.read_bytes()
    assert not note.exists()


def test_a_cache_that_cannot_be_written_keeps_no_upload_back(
    line: Line, file: Path, name: str, tmp_path: Path, settings: Settings
) -> None:
    (tmp_path / "no folder").touch()
    settings.ML_MODELS = {**settings.ML_MODELS, "CACHE_DIR": tmp_path / "no folder" / "cache"}
    create(file, name)
    assert content(name) == file.read_bytes()


@pytest.mark.parametrize("key", ["[]", "7", "[" * 100_000, '{"type": "impersonated_service_account"}'])
def test_a_key_file_of_another_form_is_named(
    real_google: Callable[[Path], None], file: Path, name: str, tmp_path: Path, key: str
) -> None:
    (tmp_path / "key.json").write_text(key)
    real_google(tmp_path / "key.json")
    assert "key.json is not what Google writes" in refusal("stat", file, name)


def test_a_key_file_whose_token_server_is_no_address_is_named(
    real_google: Callable[[Path], None], file: Path, name: str, tmp_path: Path
) -> None:
    real_google(key_file(tmp_path / "key.json", "oauth2.test/token"))
    assert "no usable ones: their token_uri is no address" in refusal("stat", file, name)


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (403, PAGE, "no usable ones: a web page came in place of an answer"),
        (503, "", "cannot be reached for"),
        (200, '{"access_token": "x", "expires_in": 1e300}', "does not answer as the bucket"),
    ],
)
def test_trouble_at_the_token_server_is_named(
    line: Line,
    real_google: Callable[[Path], None],
    file: Path,
    name: str,
    tmp_path: Path,
    status: int,
    body: str,
    said: str,
) -> None:
    line.answer = lambda method, path: (status, body) if path == "/token" else None
    real_google(key_file(tmp_path / "key.json", f"{line.url}/token"))
    assert said in refusal("stat", file, name)


def test_credentials_that_name_no_project_are_enough(
    real_google: Callable[[Path], None], file: Path, name: str, tmp_path: Path
) -> None:
    path = key_file(tmp_path / "key.json", "http://127.0.0.1:1/token")
    path.write_text(json.dumps({**json.loads(path.read_text()), "project_id": None}))
    real_google(path)
    assert "cannot be reached" in refusal("stat", file, name)


@verbs
def test_certificates_that_are_not_there_are_named(
    bucket: str, file: Path, name: str, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "https://127.0.0.1:1")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/bundle.pem")
    assert "invalid path: /no/such/bundle.pem. Check the network" in refusal(verb, file, name)
