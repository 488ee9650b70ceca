"""Pulling: only bytes that are what the database says are ever loaded."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml_models import artifacts
from ml_models.artifacts import gcs
from ml_models.engine.embed import Embedder
from ml_models.engine.errors import ArtifactRejected, ContractMismatch, GoldenMismatch, GraphRefused
from ml_models.engine.graph import graph_digest
from ml_models.exceptions import ArtifactCorrupt, ArtifactMissing, BucketUnavailable, CacheUnwritable, NameTaken
from ml_models.models import Artifact
from tests.support.disk import full_disk
from tests.support.networks import contract, tiny_network, with_foreign_operator

pytestmark = pytest.mark.django_db


def publish(path: Path, name: str = "tiny", **more: Any) -> tuple[Artifact, bool]:
    facts = {"kind": "embedder", "family": "arcface", "contract": contract().to_json(), **more}
    return artifacts.publish(path, name, **facts)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return tiny_network(tmp_path / "tiny.onnx")


@pytest.fixture
def published(bucket: str, network: Path) -> Artifact:
    artifact, uploaded = publish(network)
    assert uploaded
    return artifact


def overwrite(artifact: Artifact, data: bytes) -> Artifact:
    """Somebody with write access to the bucket replaces the object, and the pin follows."""
    blob = gcs.open_bucket().blob(artifacts.object_name(artifact.name))
    blob.upload_from_string(data)
    Artifact.objects.filter(pk=artifact.pk).update(generation=blob.generation)
    artifact.refresh_from_db()
    return artifact


def test_a_published_file_is_pulled_proven_and_loaded(published: Artifact, network: Path) -> None:
    path = artifacts.ensure_local(published)

    assert path.name == f"{published.sha256}.onnx"
    assert path.read_bytes() == network.read_bytes()
    model = artifacts.load(published)
    assert model.dimension == published.dimension


def test_pulling_twice_downloads_once(published: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    artifacts.ensure_local(published)
    # a bucket that cannot be reached: the cache alone must do
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:1")
    assert artifacts.ensure_local(published).exists()


def test_with_the_bucket_down_and_nothing_cached_the_error_says_so(
    published: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:1")
    monkeypatch.setattr(gcs, "TIMEOUT_S", 0.5)
    with pytest.raises(BucketUnavailable):
        artifacts.ensure_local(published)


def test_other_bytes_of_the_same_size_are_refused_and_not_kept(published: Artifact, network: Path) -> None:
    data = bytearray(network.read_bytes())
    data[-1] ^= 1
    with pytest.raises(ArtifactCorrupt, match="sha256"):
        artifacts.ensure_local(overwrite(published, bytes(data)))
    assert list(artifacts.local_path(published).parent.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [(lambda d: d[:-10], "bytes came.*try again"), (lambda d: d + b"more", "more bytes came.*try again")],
    ids=["truncated", "longer: not even written to the end"],
)
def test_another_size_is_refused_and_not_kept(published: Artifact, network: Path, change: Any, said: str) -> None:
    with pytest.raises(ArtifactCorrupt, match=said):
        artifacts.ensure_local(overwrite(published, change(network.read_bytes())))
    assert list(artifacts.local_path(published).parent.iterdir()) == []


def test_a_damaged_cache_file_is_replaced_from_the_bucket(published: Artifact, network: Path) -> None:
    path = artifacts.ensure_local(published)
    path.write_bytes(b"rotten")
    assert artifacts.ensure_local(published).read_bytes() == network.read_bytes()


def test_a_wrong_file_in_the_bucket_never_replaces_the_last_good_one(published: Artifact, network: Path) -> None:
    path = artifacts.ensure_local(published)
    overwrite(published, b"x" * published.size)
    assert artifacts.ensure_local(published).read_bytes() == network.read_bytes()
    assert path.exists()


def test_a_full_disk_is_named_and_leaves_nothing(published: Artifact) -> None:
    with full_disk(1000), pytest.raises(CacheUnwritable, match="cannot be kept in the cache"):
        artifacts.ensure_local(published)
    assert list(artifacts.local_path(published).parent.iterdir()) == []


def test_only_the_pinned_generation_is_pulled(published: Artifact, network: Path) -> None:
    gcs.open_bucket().blob(artifacts.object_name(published.name)).upload_from_string(b"a later object")
    assert artifacts.ensure_local(published).read_bytes() == network.read_bytes()


def test_a_generation_that_is_gone_is_missing(published: Artifact) -> None:
    Artifact.objects.filter(pk=published.pk).update(generation=12345)
    published.refresh_from_db()
    with pytest.raises(ArtifactMissing):
        artifacts.ensure_local(published)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"dimension": 17}, ContractMismatch),
        ({"contract": contract(dimension=17).to_json()}, ContractMismatch),
        ({"contract": contract(color_order="BGR").to_json()}, GoldenMismatch),
        ({"contract": contract(mean=0.0).to_json()}, GoldenMismatch),
        ({"contract": contract(input="data").to_json()}, ContractMismatch),
        ({"golden": np.eye(2, 16, dtype="<f4").tobytes()}, GoldenMismatch),
        ({"graph_sha256": "0" * 64}, ContractMismatch),
        ({"family": "unheard_of"}, ArtifactRejected),
    ],
    ids=["dimension", "contract dimension", "colour order", "normalisation", "input name", "golden", "graph", "family"],
)
def test_a_file_that_is_not_what_the_row_says_is_refused_at_load(
    published: Artifact, change: dict[str, Any], error: type[Exception]
) -> None:
    artifacts.load(published)
    Artifact.objects.filter(pk=published.pk).update(**change)
    with pytest.raises(error):
        artifacts.load(Artifact.objects.get(pk=published.pk))


def test_a_file_with_operators_of_others_is_refused_when_published_and_when_loaded(
    published: Artifact, network: Path, tmp_path: Path
) -> None:
    foreign = with_foreign_operator(network, tmp_path / "foreign.onnx")
    Embedder(foreign, contract())  # onnxruntime would run it
    with pytest.raises(GraphRefused, match="microsoft"):
        publish(foreign, "foreign")

    # one that was published before the rule
    facts = {"sha256": artifacts.sha256_of(foreign), "graph_sha256": graph_digest(foreign), "size": 1}
    Artifact.objects.filter(pk=published.pk).update(**facts)
    old = Artifact.objects.get(pk=published.pk)
    artifacts.local_path(old).parent.mkdir(parents=True, exist_ok=True)
    artifacts.local_path(old).write_bytes(foreign.read_bytes())
    with pytest.raises(GraphRefused, match="microsoft"):
        artifacts.load(old)


def test_a_disabled_family_is_refused_at_load(published: Artifact, settings: Any) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, "FAMILIES": {"arcface": {"enabled": False}}}
    with pytest.raises(ArtifactRejected, match="arcface"):
        artifacts.load(published)


def test_publishing_the_same_bytes_again_does_nothing(published: Artifact, network: Path) -> None:
    again, uploaded = publish(network)
    assert not uploaded
    assert (again.pk, again.generation) == (published.pk, published.generation)
    assert Artifact.objects.count() == 1


def test_other_bytes_under_a_published_name_are_refused(published: Artifact, tmp_path: Path) -> None:
    other = tiny_network(tmp_path / "other.onnx", seed=1)
    with pytest.raises(NameTaken):
        publish(other)
    # nor when the database does not know what the bucket holds
    Artifact.objects.all().delete()
    with pytest.raises(NameTaken):
        publish(other)
    assert not Artifact.objects.exists()


def test_the_same_bytes_under_another_name_are_refused(published: Artifact, network: Path) -> None:
    with pytest.raises(NameTaken):
        publish(network, "another")


def test_an_object_that_got_lost_is_uploaded_again_and_pinned(published: Artifact, network: Path) -> None:
    gcs.open_bucket().blob(artifacts.object_name(published.name)).delete()
    again, uploaded = publish(network)
    assert uploaded
    assert again.pk == published.pk
    assert artifacts.ensure_local(again).exists()


def test_a_network_that_is_not_what_its_contract_says_is_never_published(bucket: str, network: Path) -> None:
    with pytest.raises(ContractMismatch):
        publish(network, contract=contract(dimension=3).to_json())
    assert not Artifact.objects.exists()
    assert gcs.open_bucket().get_blob(artifacts.object_name("tiny")) is None


def aged(path: Path, size: int, hours: float) -> Path:
    path.write_bytes(b"\0" * size)
    os.utime(path, (time.time() - hours * 3600,) * 2)
    return path


def test_what_a_killed_download_left_goes_at_the_next_one_and_a_running_one_stays(published: Artifact) -> None:
    folder = artifacts.local_path(published).parent
    folder.mkdir(parents=True)
    left, running = aged(folder / ".pull-dead", 10, hours=2), aged(folder / ".pull-live", 10, hours=0.5)
    artifacts.ensure_local(published)
    assert (left.exists(), running.exists()) == (False, True)


def test_the_cache_is_bounded_and_lets_go_of_what_was_used_longest_ago(published: Artifact, settings: Any) -> None:
    folder = artifacts.local_path(published).parent
    folder.mkdir(parents=True)
    old, older, lately = (
        aged(folder / f"{letter * 64}.onnx", 1000, hours) for letter, hours in (("a", 30), ("b", 50), ("c", 0.5))
    )
    somebodys = aged(folder / "notes.onnx", 1000, hours=90)
    settings.ML_MODELS = {**settings.ML_MODELS, "CACHE_BYTES": published.size + 2500}
    artifacts.ensure_local(published)
    assert [file.exists() for file in (old, older, lately, somebodys)] == [True, False, True, True]

    # what is served is marked as used, and a second run takes nothing
    os.utime(old)
    settings.ML_MODELS = {**settings.ML_MODELS, "CACHE_BYTES": 0}
    artifacts.local_path(published).unlink()
    artifacts.ensure_local(published)
    assert [file.exists() for file in (old, lately, somebodys)] == [True, True, True]


def test_a_network_in_use_is_marked_so(published: Artifact) -> None:
    path = artifacts.ensure_local(published)
    for use in (artifacts.keep, artifacts.ensure_local):
        os.utime(path, (0, 0))
        use(published)
        assert path.stat().st_mtime > time.time() - 60
    path.unlink()
    artifacts.keep(published)
    assert not path.exists()
