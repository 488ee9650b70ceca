"""Ciphertexts for biometrics: AES-256-GCM whose associated data binds each one to its row and to its subject.

Layout: version (1 byte), length of the key id (1 byte), key id, nonce (12 bytes), ciphertext with tag.
Version 2 is bound to the subject, by row and by the host's id; version 1 is of before that, and bound to its row.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from . import conf
from .exceptions import CryptoError

_UNBOUND, BOUND = 1, 2
_UNBOUND_MARK = bytes([_UNBOUND])
BINDINGS = ("introduce", "bind", "require")
"""What `ML_MODELS["BINDING"]` may be; see there."""
_NONCE_BYTES = 12
_KEY_BYTES = 32
# what a key that is derived for hashing is for: none says anything about a hash of another kind
_SUBJECT, _REFERENCE, _MARK = b"ml_models tombstone", b"ml_models reference tombstone", b"ml_models key mark"
_ROSTER = b"ml_models roster"
_REQUEST = b"ml_models idempotency"
_REFUSED = "A stored ciphertext could not be opened: it was altered, moved, or its key is gone."
_REFUSED_UNBOUND = (
    "A stored ciphertext is not bound to its subject, and BINDING is 'require'. If it is of before the binding, set "
    "BINDING to 'bind' and run rotate_keys."
)


class KeyProvider(Protocol):
    """Where the keys come from: the class that `ML_MODELS["KEY_PROVIDER"]` names, made once a process.

    One that asks a key management service holds wrapped data keys and has each unwrapped on its first use.
    """

    @property
    def primary(self) -> str:
        """The id, of 1 to 64 bytes, of the key that new ciphertexts are made with."""

    def ids(self) -> Collection[str]:
        """The ids of all keys that can still open something."""

    def key(self, key_id: str) -> bytes:
        """The 32 bytes of a key. Raises: KeyError when there is none of this id."""


class EnvironmentKeys:
    """The keys in `ML_MODELS["KEYSET"]`; the default."""

    def __init__(self) -> None:
        text = conf.get("KEYSET")
        if not text:
            raise ImproperlyConfigured("ML_MODELS['KEYSET'] is not set; without it nothing can be enrolled.")
        self._primary, self._keys = _parse(text)

    @property
    def primary(self) -> str:
        return self._primary

    def ids(self) -> Collection[str]:
        return self._keys

    def key(self, key_id: str) -> bytes:
        return self._keys[key_id]


def _parse(text: str) -> tuple[str, dict[str, bytes]]:
    """Read `{"primary": id, "keys": {id: base64 of 32 bytes}}`; what is wrong is said without quoting the text."""
    try:
        data = json.loads(text)
        keys = {str(key): base64.b64decode(value, validate=True) for key, value in data["keys"].items()}
        primary = str(data["primary"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ImproperlyConfigured(
            'ML_MODELS_KEYSET must be JSON: {"primary": "k1", "keys": {"k1": "<32 random bytes in base64>"}}.'
        ) from None
    if primary not in keys or any(len(key) != _KEY_BYTES or len(set(key)) < 8 for key in keys.values()):
        raise ImproperlyConfigured("ML_MODELS_KEYSET: the primary key is missing, or a key is not 32 random bytes.")
    if any(not 1 <= len(key_id.encode()) <= 64 for key_id in keys):
        raise ImproperlyConfigured("ML_MODELS_KEYSET: key ids have 1 to 64 bytes.")
    return primary, keys


@lru_cache(maxsize=4)
def _made(path: str, keyset: str | None) -> KeyProvider:
    provider: KeyProvider = import_string(path)()
    return provider


def provider() -> KeyProvider:
    """The deployment's keys.

    Raises:
        ImproperlyConfigured: none are set, or they are not usable.
    """
    return _made(conf.get("KEY_PROVIDER"), conf.get("KEYSET"))


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a chip or a vector is: the subject's row, and the id that the host knows it by."""

    row: UUID | str
    subject_id: str


def header(key_id: str, version: int | None = None) -> bytes:
    """How a ciphertext made with this key begins; without a version, as chips and vectors are written now."""
    return bytes([version or _written(), len(key_id.encode())]) + key_id.encode()


def is_unbound(data: bytes) -> bool:
    """Whether a ciphertext is of before the binding to the subject."""
    return data[:1] == _UNBOUND_MARK


def _written() -> int:
    return _UNBOUND if conf.get("BINDING") == "introduce" else BOUND


def _encrypt(plaintext: bytes, associated: bytes, version: int) -> bytes:
    keys = provider()
    head, nonce = header(keys.primary, version), os.urandom(_NONCE_BYTES)
    return head + nonce + AESGCM(keys.key(keys.primary)).encrypt(nonce, plaintext, head + associated)


def _cipher(key_id: str) -> AESGCM:
    return AESGCM(provider().key(key_id))


def _decrypt(data: bytes, associated: bytes) -> bytes:
    if len(data) < 2:
        raise CryptoError(_REFUSED)
    end = 2 + data[1]
    head, nonce, body = data[:end], data[end : end + _NONCE_BYTES], data[end + _NONCE_BYTES :]
    if len(nonce) != _NONCE_BYTES:
        raise CryptoError(_REFUSED)
    try:
        return _cipher(head[2:].decode()).decrypt(nonce, body, head + associated)
    except (KeyError, UnicodeDecodeError, InvalidTag):
        raise CryptoError(_REFUSED) from None


def _associated(table: str, row: UUID | str, *context: object) -> bytes:
    return "|".join(["ml_models", table, str(row), *map(str, context)]).encode()


def _bound(associated: bytes, owner: Owner) -> bytes:
    # the host's id comes last: the only part that may hold the separator
    return associated + f"|{owner.row}|{owner.subject_id}".encode()


def _seal(plaintext: bytes, associated: bytes, owner: Owner) -> bytes:
    version = _written()
    return _encrypt(plaintext, associated if version == _UNBOUND else _bound(associated, owner), version)


def _open(data: bytes, associated: bytes, owner: Owner) -> bytes:
    if not is_unbound(data):
        return _decrypt(data, _bound(associated, owner))
    if conf.get("BINDING") not in ("introduce", "bind"):
        raise CryptoError(_REFUSED_UNBOUND)
    return _decrypt(data, associated)


def seal_chip(reference: UUID, owner: Owner, chip: bytes) -> bytes:
    return _seal(chip, _associated("reference", reference, owner.row), owner)


def open_chip(reference: UUID | str, owner: Owner, data: bytes) -> bytes:
    """Raises: CryptoError"""
    return _open(data, _associated("reference", reference, owner.row), owner)


def seal_vector(embedding: UUID, reference: UUID, space: str, owner: Owner, vector: bytes) -> bytes:
    return _seal(vector, _associated("embedding", embedding, reference, space), owner)


def open_vector(embedding: UUID, reference: UUID, space: str, owner: Owner, data: bytes) -> bytes:
    """An unbound one is proven to be its subject's by the chip of its reference alone: see `selectors.template`.

    Raises: CryptoError
    """
    return _open(data, _associated("embedding", embedding, reference, space), owner)


class VectorOpener:
    """`open_vector` for many, with the ciphers that they need. `unbound` are references whose vectors do not name their
    subject, with whoever each is said to be of."""

    def __init__(self) -> None:
        self.unbound: dict[UUID | str, Owner] = {}
        self._ciphers: dict[bytes, AESGCM] = {}  # by the header of what they open

    def open(
        self, embedding: UUID | str, reference: UUID | str, space: str, row: UUID | str, subject_id: str, data: bytes
    ) -> bytes:
        """Raises: CryptoError"""
        try:  # as `open_vector`, in one piece: its calls take longer than the cipher
            end = 2 + data[1]
            start = end + _NONCE_BYTES
            head = data[:end]
            bound = f"ml_models|embedding|{embedding}|{reference}|{space}|{row}|{subject_id}"
            return self._ciphers[head].decrypt(data[end:start], data[start:], head + bound.encode())
        except (LookupError, ValueError, InvalidTag):  # a new key, or of before the binding, or that says what is wrong
            owner = Owner(row, subject_id)
            opened = _open(data, _associated("embedding", embedding, reference, space), owner)
        if is_unbound(data):
            self.unbound[reference] = owner
        else:
            self._ciphers[head] = _cipher(head[2:].decode())
        return opened


def seal_audit_key(row: UUID, key: bytes) -> bytes:
    return _encrypt(key, _associated("auditkey", row), BOUND)


def open_audit_key(row: UUID, data: bytes) -> bytes:
    """Raises: CryptoError"""
    return _decrypt(data, _associated("auditkey", row))


def seal_archive(study: UUID, archive: bytes) -> bytes:
    return _encrypt(archive, _associated("study", study), BOUND)


def open_archive(study: UUID, data: bytes) -> bytes:
    """Raises: CryptoError"""
    return _decrypt(data, _associated("study", study))


def pseudonym(key: bytes, text: str) -> str:
    """A name for a text that nobody can tell from any other without the key; 32 hex digits."""
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()[:32]


def subject_hash(subject_id: str) -> str:
    """A keyed hash, so that a tombstone can answer "was this one erased?" and nothing else; sha256 hex."""
    return _hash(provider().primary, _SUBJECT, subject_id)


def subject_hashes(subject_id: str) -> list[str]:
    """What `subject_hash` has given, or may have given under an earlier primary key."""
    return [_hash(key_id, _SUBJECT, subject_id) for key_id in provider().ids()]


def reference_hash(reference: UUID) -> str:
    """As `subject_hash`, of one reference."""
    return _hash(provider().primary, _REFERENCE, str(reference))


def reference_hashes(reference: UUID) -> list[str]:
    """As `subject_hashes`, of one reference."""
    return [_hash(key_id, _REFERENCE, str(reference)) for key_id in provider().ids()]


def roster_digest(subject_ids: Iterable[str]) -> str:
    """A keyed hash of who is on a roster: equal for equal rosters, under one primary key; sha256 hex."""
    # ids have no control characters
    return _hash(provider().primary, _ROSTER, "\n".join(sorted(subject_ids)))


def request_hashes(text: str) -> list[str]:
    """Keyed hashes of what a request says, under each key; the primary one's first."""
    primary = provider().primary
    return [_hash(key_id, _REQUEST, text) for key_id in sorted(provider().ids(), key=lambda key_id: key_id != primary)]


def key_marks() -> dict[str, str]:
    """By key id, what tells two keys of one id apart, and nothing about either: 16 hex digits."""
    return {key_id: _hash(key_id, _MARK, key_id)[:16] for key_id in provider().ids()}


def _hash(key_id: str, purpose: bytes, text: str) -> str:
    key = hashlib.sha256(purpose + provider().key(key_id)).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
