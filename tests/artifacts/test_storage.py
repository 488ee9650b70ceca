"""What every storage must do, asked of each one that we have."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from ml_models import artifacts, conf
from ml_models.artifacts import gcs
from ml_models.artifacts.folder import FolderStorage
from ml_models.artifacts.storage import Storage, crc32c_of, storage
from ml_models.exceptions import ArtifactCorrupt, ArtifactMissing, BucketUnavailable, NameTaken, ObjectExists
from ml_models.models import Artifact
from tests.support.flaky import flaky_line
from tests.support.networks import contract, tiny_network

NAME = "net.onnx"


@dataclass
class Case:
    """A storage, and what somebody with write access, or a bad disk or line, can do behind its back."""

    name: str
    replace: Callable[[bytes], int]
    """Put other bytes under the name; returns their generation."""
    remove: Callable[[], None]
    damage: Callable[[int], None]


@pytest.fixture
def in_gcs(bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    name = bucket + NAME
    with flaky_line(os.environ["STORAGE_EMULATOR_HOST"]) as line:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", line.url)

        def replace(data: bytes) -> int:
            blob = gcs.open_bucket().blob(name)
            blob.upload_from_string(data)
            return int(blob.generation)

        def damage(generation: int) -> None:
            line.treat_download = lambda data: bytes([data[0] ^ 1]) + data[1:]

        yield Case(name, replace, lambda: gcs.open_bucket().blob(name).delete(), damage)


@pytest.fixture
def in_folder(bucket: str, tmp_path: Path, settings: Settings) -> Case:
    folder = tmp_path / "models"
    folder.mkdir()
    settings.ML_MODELS = {
        **settings.ML_MODELS,
        "STORAGE": "ml_models.artifacts.folder.FolderStorage",
        "BUCKET": str(folder),
    }
    held = folder / bucket / NAME

    def replace(data: bytes) -> int:
        generation = storage().stat(bucket + NAME).generation + 1
        path = held / f"{generation}-"
        path.write_bytes(data)
        path.rename(held / f"{generation}-{artifacts.sha256_of(path)}")
        return generation

    def remove() -> None:
        for path in held.iterdir():
            path.unlink()
        held.rmdir()

    def damage(generation: int) -> None:
        [path] = held.glob(f"{generation}-*")
        data = path.read_bytes()
        path.write_bytes(bytes([data[0] ^ 1]) + data[1:])

    return Case(bucket + NAME, replace, remove, damage)


@pytest.fixture(params=["in_gcs", "in_folder"])
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(3_000_000))
    return path


def create(path: Path, name: str) -> int:
    return storage().create(path, name, artifacts.sha256_of(path)).generation


def content(name: str, generation: int) -> bytes:
    file = io.BytesIO()
    storage().download(name, generation, file)
    return file.getvalue()


def test_what_was_created_is_described_and_read_back(case: Case, file: Path) -> None:
    calls: list[tuple[int, int]] = []
    stored = storage().create(file, case.name, artifacts.sha256_of(file), lambda *done: calls.append(done))

    assert (stored.size, stored.crc32c, stored.sha256) == (3_000_000, crc32c_of(file), artifacts.sha256_of(file))
    assert storage().stat(case.name) == storage().stat(case.name, stored.generation) == stored
    assert content(case.name, stored.generation) == file.read_bytes()
    assert calls[-1] == (3_000_000, 3_000_000)


def test_what_exists_is_never_overwritten(case: Case, file: Path) -> None:
    generation = create(file, case.name)
    first = file.read_bytes()
    file.write_bytes(b"other bytes")
    with pytest.raises(ObjectExists, match=case.name):
        create(file, case.name)
    assert storage().stat(case.name).generation == generation
    assert content(case.name, generation) == first


def test_of_eight_who_create_at_once_one_wins(case: Case, tmp_path: Path) -> None:
    files = [tmp_path / f"file-{number}" for number in range(8)]
    for path in files:
        path.write_bytes(os.urandom(200_000))

    def attempt(path: Path) -> int | None:
        try:
            return create(path, case.name)
        except ObjectExists:
            return None

    with ThreadPoolExecutor(8) as pool:
        generations = list(pool.map(attempt, files))
    [(generation, path)] = [
        (generation, path) for generation, path in zip(generations, files, strict=True) if generation
    ]
    assert content(case.name, generation) == path.read_bytes()
    assert storage().stat(case.name).generation == generation


def test_a_pinned_generation_stays_readable_after_a_replacement(case: Case, file: Path) -> None:
    pinned = create(file, case.name)
    newer = case.replace(b"other bytes")

    assert content(case.name, pinned) == file.read_bytes()
    assert content(case.name, newer) == b"other bytes"
    assert storage().stat(case.name).generation == newer
    assert storage().stat(case.name, pinned).crc32c == crc32c_of(file)


def test_what_is_not_there_is_missing(case: Case, file: Path) -> None:
    with pytest.raises(ArtifactMissing, match=f"has no {case.name}\\. Publish it"):
        storage().stat(case.name)
    generation = create(file, case.name)
    wrong: list[Callable[[], Any]] = [
        lambda: storage().stat(case.name, generation + 1),
        lambda: storage().download(case.name, generation + 1, io.BytesIO()),
        lambda: storage().download(f"{case.name}x", generation, io.BytesIO()),
    ]
    for ask in wrong:
        with pytest.raises(ArtifactMissing, match="of generation"):
            ask()


def test_what_was_lost_can_be_created_again_with_another_generation(case: Case, file: Path) -> None:
    first = create(file, case.name)
    case.remove()
    assert create(file, case.name) != first


def test_damaged_bytes_are_noticed(case: Case, file: Path) -> None:
    generation = create(file, case.name)
    case.damage(generation)
    with pytest.raises(ArtifactCorrupt, match="damaged"):
        content(case.name, generation)


def test_bytes_that_are_not_what_their_sha256_says_are_deleted_again(case: Case, file: Path) -> None:
    with pytest.raises(ArtifactCorrupt, match="deleted again"):
        storage().create(file, case.name, "0" * 64)
    with pytest.raises(ArtifactMissing):
        storage().stat(case.name)
    assert create(file, case.name)


def test_a_caller_whose_own_file_fails_is_told_of_that_file(case: Case, file: Path) -> None:
    class Full:
        def write(self, data: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    generation = create(file, case.name)
    with pytest.raises(OSError, match="No space left"):
        storage().download(case.name, generation, Full())


def publish(path: Path) -> tuple[Artifact, bool]:
    return artifacts.publish(path, "net", kind="embedder", family="arcface", contract=contract().to_json())


@pytest.mark.django_db
def test_a_network_is_published_pulled_and_proven(case: Case, tmp_path: Path) -> None:
    network = tiny_network(tmp_path / "net.onnx")
    artifact, uploaded = publish(network)
    assert uploaded
    assert artifact.uri == storage().root + case.name
    assert artifacts.ensure_local(artifact).read_bytes() == network.read_bytes()
    artifacts.require_in_bucket(artifact)
    assert publish(network) == (artifact, False)
    with pytest.raises(NameTaken):
        publish(tiny_network(tmp_path / "other.onnx", seed=1))

    Artifact.objects.update(generation=case.replace(b"other bytes"))
    artifact.refresh_from_db()
    with pytest.raises(ArtifactCorrupt):
        artifacts.require_in_bucket(artifact)
    case.remove()
    again, uploaded = publish(network)
    assert uploaded
    artifacts.require_in_bucket(again)


@pytest.mark.django_db
def test_whoever_moves_to_another_storage_publishes_again(
    in_gcs: Case, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    network = tiny_network(tmp_path / "net.onnx")
    published, _ = publish(network)
    request.getfixturevalue("in_folder")
    with pytest.raises(ArtifactMissing, match=r"published at gs://.*this deployment's storage is folder:"):
        artifacts.ensure_local(published)

    moved, uploaded = publish(network)
    assert uploaded
    assert (moved.pk, moved.uri) == (published.pk, f"folder:{in_gcs.name}")
    assert artifacts.ensure_local(Artifact.objects.get()).read_bytes() == network.read_bytes()


@pytest.mark.django_db
def test_a_generation_that_was_proven_in_one_storage_is_proven_again_in_another(
    in_gcs: Case, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    network = tiny_network(tmp_path / "net.onnx")
    published, _ = publish(network)
    request.getfixturevalue("in_folder")
    same_number = Path(conf.get("BUCKET")) / in_gcs.name / f"{published.generation}-{published.sha256}"
    same_number.parent.mkdir(parents=True)
    same_number.write_bytes(b"other bytes")
    with pytest.raises(ArtifactCorrupt, match="damaged"):
        publish(network)


def test_a_folder_that_is_not_mounted_is_no_missing_object(in_folder: Case, file: Path) -> None:
    generation = create(file, in_folder.name)
    folder = Path(conf.get("BUCKET"))
    folder.rename(folder.with_name("elsewhere"))
    asks: list[Callable[[], Any]] = [
        lambda: storage().stat(in_folder.name),
        lambda: content(in_folder.name, generation),
        lambda: create(file, in_folder.name),
    ]
    for ask in asks:
        with pytest.raises(BucketUnavailable, match=f"There is no folder {folder}"):
            ask()
    assert not folder.exists()


def test_a_folder_that_cannot_be_written_is_named_and_left_clean(in_folder: Case, file: Path) -> None:
    folder = Path(conf.get("BUCKET"))
    (folder / "tests").write_bytes(b"a file where the prefix needs a folder")
    with pytest.raises(BucketUnavailable, match=f"{folder} cannot be used for {in_folder.name}: Not a directory"):
        create(file, in_folder.name)


def test_the_storage_is_made_once_and_a_wrong_path_is_named(settings: Settings) -> None:
    assert storage() is storage()
    made: Storage = storage()
    settings.ML_MODELS = {**settings.ML_MODELS, "STORAGE": "ml_models.artifacts.folder.FolderStorage"}
    assert isinstance(storage(), FolderStorage)
    assert storage() is not made
    settings.ML_MODELS = {**settings.ML_MODELS, "STORAGE": "ml_models.artifacts.Nowhere"}
    with pytest.raises(ImproperlyConfigured, match=r"ML_MODELS\['STORAGE'\] is 'ml_models.artifacts.Nowhere'"):
        storage()
