"""After a day at the door: no picture and no vector in the clear, on any disk or in any log."""

import base64
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from redis import Redis
from rest_framework.test import APIClient

from ml_models import artifacts, crypto
from ml_models.artifacts import gcs
from ml_models.models import EnsembleConfig, Reference
from tests.conftest import Portraits
from tests.support.keys import owner
from tests.support.uploads import enroll, verify

pytestmark = pytest.mark.django_db(transaction=True)


def slices(data: bytes) -> Iterator[bytes]:
    """Pieces from the middle of secret bytes, as they are and as text would carry them."""
    for start in (len(data) // 3, len(data) // 2):
        piece = data[start // 3 * 3 : start // 3 * 3 + 24]
        yield from (piece, piece.hex().encode(), base64.b64encode(piece))


def secrets() -> list[bytes]:
    found: list[bytes] = []
    for reference in Reference.objects.all():
        found += slices(crypto.open_chip(reference.pk, owner(reference), bytes(reference.chip)))
        for e in reference.embeddings.all():
            found += slices(crypto.open_vector(e.pk, reference.pk, e.space, owner(reference), bytes(e.vector)))
    return found


def database_files() -> Iterator[tuple[str, bytes]]:
    with connection.cursor() as cursor:
        cursor.execute("CHECKPOINT")
        cursor.execute("SHOW data_directory")
        folder = Path(cursor.fetchone()[0])
        cursor.execute(
            "SELECT pg_walfile_name(pg_current_wal_lsn()), oid FROM pg_database WHERE datname = %s",
            [connection.settings_dict["NAME"]],
        )
        wal, oid = cursor.fetchone()
    assert folder.is_dir(), "the tests' PostgreSQL is another machine's: its files cannot be read"
    logs = [*folder.parent.rglob("*.log")]
    assert any("postgres" in log.name for log in logs)
    for path in [*logs, folder / "pg_wal" / wal, *(folder / "base" / str(oid)).rglob("*")]:
        if path.is_file():
            yield str(path), path.read_bytes()


def valkey(settings: Any) -> Iterator[tuple[str, bytes]]:
    """Every key of every database of the server: cache, broker and whatever else lies there."""
    client = cache._cache.get_client()  # type: ignore[attr-defined]
    for database in range(int(client.config_get("databases")["databases"])):
        with Redis.from_url(f"{settings.REDIS_URL.rsplit('/', 1)[0]}/{database}") as connected:
            for key in connected.keys("*"):
                yield f"valkey {database}", key + (connected.dump(key) or b"")


def bucket() -> Iterator[tuple[str, bytes]]:
    for blob in gcs.open_bucket().list_blobs(prefix=artifacts.object_name("").removesuffix(".onnx")):
        assert blob.name.endswith(".onnx")
        yield blob.name, str(blob._properties).encode() + blob.download_as_bytes()


def test_no_disk_and_no_log_holds_a_picture_or_a_vector_in_the_clear(
    served: EnsembleConfig, service: APIClient, portraits: Portraits, caplog: Any, settings: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    for picture in (portraits.eileen_collins, portraits.grace_hopper, b"no picture"):
        enroll(service, "child-1", picture)
        verify(service, "child-1", picture)
    needles = [*secrets(), *slices(portraits.eileen_collins), *slices(portraits.grace_hopper)]
    assert len(needles) > 30

    stores = [*database_files(), *valkey(settings), *bucket(), ("log", caplog.text.encode())]
    # the search itself works: the ciphertexts are where they are looked for. PostgreSQL cuts a long value into chunks
    # of 1996 bytes, so only what lies within the first one is certain to be found in one piece
    reference = Reference.objects.get()
    for embedding in reference.embeddings.all():
        assert any(bytes(embedding.vector)[200:400] in data for _, data in stores)
    assert [(name, needle) for name, data in stores for needle in needles if needle in data] == []
    assert "child-1" not in caplog.text
