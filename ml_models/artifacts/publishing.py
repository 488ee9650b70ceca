"""From a file to the storage and the database: created once, never overwritten."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from django.db.models import Q

from ..engine.errors import ContractMismatch
from ..engine.files import sha256_of
from ..engine.graph import require_standard
from ..exceptions import ArtifactMissing, InvalidRequest, NameTaken, ObjectExists
from ..models import Artifact
from .kinds import KINDS
from .pulling import object_name
from .storage import Progress, storage, stored_sha256

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
# Names of the steps that an attempt's timings list beside its networks: an artifact of such a name would replace one.
_STEPS = {"decode", "detect", "upright", "presentation", "quality", "pictures", "roster", "search", "total"}


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
    """Put a model file into the storage and its row into the database.

    The object is created, never overwritten. The same bytes again are a no-op; an object that got lost is uploaded
    again and its new address and generation pinned.

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
    if name in _STEPS:
        raise InvalidRequest(f"{name!r} is what a step of an attempt is called: publish it under another name.")
    try:
        sha256 = sha256_of(path)
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror}.") from error
    known = _published(name, sha256, kind, family)
    if known is None:
        measured = _measure(path, kind, contract)
    uri = storage().root + object_name(name)
    pinned = known.generation if known and known.uri == uri else None
    generation, uploaded = _upload(path, object_name(name), sha256, pinned, progress)
    if known is not None:
        if pinned != generation:
            Artifact.objects.filter(pk=known.pk).update(uri=uri, generation=generation)
            known.uri, known.generation = uri, generation
        return known, uploaded
    facts = {
        "kind": kind,
        "family": family,
        "uri": uri,
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
    require_standard(path)
    if kind not in KINDS:
        raise ContractMismatch(f"{path.name} is of the kind {kind}; this build knows {', '.join(KINDS)}.")
    return KINDS[kind].measure(path, contract)


def _upload(path: Path, name: str, sha256: str, pinned: int | None, progress: Progress | None) -> tuple[int, bool]:
    """Create the object, or find these very bytes there. Returns its generation and whether it was created.

    Args:
        pinned: a generation that was proven to have these bytes.
    """
    same = _generation_of_same_bytes(name, sha256, pinned)
    if same is not None:
        return same, False
    try:
        return storage().create(path, name, sha256, progress).generation, True
    except ObjectExists:  # somebody else published between our look and our upload
        same = _generation_of_same_bytes(name, sha256, pinned)
        if same is None:
            raise
        return same, False


def _generation_of_same_bytes(name: str, sha256: str, pinned: int | None) -> int | None:
    """The generation of the object that is there, None where there is none.

    Raises:
        NameTaken: it has other bytes.
    """
    try:
        stored = storage().stat(name)
    except ArtifactMissing:
        return None
    if stored.generation == pinned:
        return pinned
    # bytes that their own uploader called others need no download; bytes called the same are read to prove it
    if stored.sha256 not in ("", sha256) or stored_sha256(storage(), name, stored.generation) != sha256:
        raise NameTaken(f"The bucket has other bytes under {name}. Publish under a new name.")
    return stored.generation
