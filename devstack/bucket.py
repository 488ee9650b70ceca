"""Keeps the emulated bucket over restarts: the emulator holds objects and generations in memory only."""

import hashlib
import json
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from devstack.services import LOOPBACK

TIMEOUT_S = 30


def save(emulator: str, bucket: str, folder: Path) -> None:
    """Copy objects that the folder does not have yet; what is published once never changes."""
    folder.mkdir(exist_ok=True)
    for item in objects(emulator, bucket):
        path = folder / urllib.parse.quote(item["name"], safe="")
        if path.exists():
            continue
        url = f"{emulator}/storage/v1/b/{bucket}/o/{urllib.parse.quote(item['name'], safe='')}?alt=media"
        with LOOPBACK.open(url, timeout=TIMEOUT_S) as response:
            temporary = path.with_suffix(".tmp")
            temporary.write_bytes(response.read())
            temporary.replace(path)


def restore(emulator: str, bucket: str, folder: Path) -> None:
    """Put the kept objects back. They get new generations: `repin` tells the database."""
    for path in sorted(folder.glob("*")):
        if path.suffix == ".tmp":
            continue
        name = urllib.parse.quote(urllib.parse.unquote(path.name), safe="")
        url = f"{emulator}/upload/storage/v1/b/{bucket}/o?uploadType=media&name={name}"
        headers = {"Content-Type": "application/octet-stream"}
        LOOPBACK.open(urllib.request.Request(url, path.read_bytes(), headers), timeout=TIMEOUT_S).close()


def objects(emulator: str, bucket: str) -> list[dict[str, Any]]:
    with LOOPBACK.open(f"{emulator}/storage/v1/b/{bucket}/o", timeout=TIMEOUT_S) as response:
        items: list[dict[str, Any]] = json.load(response).get("items", [])
        return items


def repin(emulator: str, bucket: str, folder: Path) -> None:
    """Pin each artifact to the generation that its restored object got. Needs Django set up.

    Only where the kept bytes are the artifact's own: a pin to other bytes would be refused at load anyway.
    """
    from ml_models.models import Artifact

    for item in objects(emulator, bucket):
        path = folder / urllib.parse.quote(item["name"], safe="")
        generation = int(item["generation"])
        stale = Artifact.objects.filter(uri=f"gs://{bucket}/{item['name']}").exclude(generation=generation)
        if path.exists() and stale.exists():
            stale.filter(sha256=hashlib.sha256(path.read_bytes()).hexdigest()).update(generation=generation)
