"""A ciphertext opens as what it was written as, under its own key, or not at all."""

import base64
import json
import uuid

import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from ml_models import checks, crypto
from ml_models.exceptions import CryptoError
from tests.support.keys import keyset

EMBEDDING, REFERENCE, SUBJECT, OTHER = (uuid.UUID(int=i) for i in (1, 2, 3, 4))
CHILD = crypto.Owner(SUBJECT, "child-1")
VECTOR = b"\x00\x00\x80?" * 128


@pytest.fixture
def sealed() -> bytes:
    return crypto.seal_vector(EMBEDDING, REFERENCE, "space", CHILD, VECTOR)


def together(embedding: uuid.UUID, reference: uuid.UUID, space: str, owner: crypto.Owner, data: bytes) -> bytes:
    row = (embedding, str(reference), space, owner.row, owner.subject_id, data)
    opener = crypto.VectorOpener()
    first, second = opener.open(*row), opener.open(*row)
    assert opener.unbound == ({str(reference): owner} if crypto.is_unbound(data) else {})
    assert first == second
    return second


def test_what_was_sealed_opens(sealed: bytes) -> None:
    assert crypto.open_vector(EMBEDDING, REFERENCE, "space", CHILD, sealed) == VECTOR
    assert together(EMBEDDING, REFERENCE, "space", CHILD, sealed) == VECTOR
    chip = crypto.seal_chip(REFERENCE, CHILD, b"chip")
    assert crypto.open_chip(REFERENCE, CHILD, chip) == b"chip"
    assert VECTOR[:16] not in sealed


def test_the_same_vector_never_gives_the_same_ciphertext(sealed: bytes) -> None:
    assert crypto.seal_vector(EMBEDDING, REFERENCE, "space", CHILD, VECTOR) != sealed


@pytest.mark.parametrize(
    "row",
    [
        (REFERENCE, REFERENCE, "space", CHILD),
        (EMBEDDING, EMBEDDING, "space", CHILD),
        (EMBEDDING, REFERENCE, "other", CHILD),
        (EMBEDDING, REFERENCE, "space", crypto.Owner(OTHER, "child-1")),
        (EMBEDDING, REFERENCE, "space", crypto.Owner(SUBJECT, "child-2")),
    ],
    ids=["another row", "another reference", "another space", "another subject", "another id of the host"],
)
def test_a_ciphertext_that_was_moved_is_refused(
    sealed: bytes, row: tuple[uuid.UUID, uuid.UUID, str, crypto.Owner]
) -> None:
    for opener in (crypto.open_vector, together):
        with pytest.raises(CryptoError):
            opener(*row, sealed)


def test_a_chip_moved_to_another_subject_or_read_as_a_vector_is_refused() -> None:
    chip = crypto.seal_chip(REFERENCE, CHILD, b"chip")
    for owner in (crypto.Owner(OTHER, "child-1"), crypto.Owner(SUBJECT, "child-2")):
        with pytest.raises(CryptoError):
            crypto.open_chip(REFERENCE, owner, chip)
    with pytest.raises(CryptoError):
        crypto.open_vector(REFERENCE, SUBJECT, "", CHILD, chip)


def test_a_flipped_bit_is_refused_wherever_it_is(sealed: bytes) -> None:
    for place in range(len(sealed)):
        damaged = bytearray(sealed)
        damaged[place] ^= 1 << (place % 8)
        for opener in (crypto.open_vector, together):
            with pytest.raises(CryptoError):
                opener(EMBEDDING, REFERENCE, "space", CHILD, bytes(damaged))


def test_a_ciphertext_that_was_cut_is_refused(sealed: bytes) -> None:
    for length in range(len(sealed)):
        with pytest.raises(CryptoError):
            crypto.open_vector(EMBEDDING, REFERENCE, "space", CHILD, sealed[:length])


def test_an_unknown_key_is_refused(sealed: bytes, settings: Settings) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, "KEYSET": keyset("k2", "k2")}
    with pytest.raises(CryptoError):
        crypto.open_vector(EMBEDDING, REFERENCE, "space", CHILD, sealed)


def test_another_key_under_the_same_id_is_refused(sealed: bytes, settings: Settings) -> None:
    name = crypto.provider().primary
    settings.ML_MODELS = {**settings.ML_MODELS, "KEYSET": keyset(name, name)}
    with pytest.raises(CryptoError):
        crypto.open_vector(EMBEDDING, REFERENCE, "space", CHILD, sealed)


class Vault:
    """A host's own key provider."""

    primary = "vault-7"
    unwrapped = {"vault-7": bytes(range(32))}

    def ids(self) -> list[str]:
        return list(self.unwrapped)

    def key(self, key_id: str) -> bytes:
        return self.unwrapped[key_id]


def test_the_host_can_bring_its_own_keys(settings: Settings) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, "KEY_PROVIDER": f"{__name__}.Vault", "KEYSET": None}
    sealed = crypto.seal_vector(EMBEDDING, REFERENCE, "space", CHILD, VECTOR)
    assert sealed.startswith(crypto.header("vault-7"))
    assert crypto.open_vector(EMBEDDING, REFERENCE, "space", CHILD, sealed) == VECTOR
    assert checks.check_keyset() == []


SHORT = base64.b64encode(b"x" * 16).decode()
PLAIN = base64.b64encode(bytes(32)).decode()


# random keys in the ids of tests would differ between workers
UNUSABLE = {
    "none": None,
    "empty": "",
    "not JSON": "k1",
    "a list": "[]",
    "nothing in it": "{}",
    "no keys": '{"primary": "k1", "keys": {}}',
    "keys are text": '{"primary": "k1", "keys": "k1"}',
    "no primary": keyset("k1", "k2"),
    "not base64": keyset("k1", k1="not base64"),
    "too short": keyset("k1", k1=SHORT),
    "all zeros": keyset("k1", k1=PLAIN),
    "no id": keyset("", ""),
    "long id": keyset("x" * 65, "x" * 65),
}


@pytest.mark.parametrize("text", UNUSABLE.values(), ids=UNUSABLE)
def test_a_keyset_that_is_not_usable_is_refused_and_not_quoted(text: str | None, settings: Settings) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, "KEYSET": text}
    with pytest.raises(ImproperlyConfigured) as caught:
        crypto.provider()
    assert SHORT not in str(caught.value)
    assert [message.id for message in checks.check_keyset()] == ["ml_models.E003"]


def test_a_key_provider_that_is_not_there_is_an_error_of_check(settings: Settings) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, "KEY_PROVIDER": "nowhere.Keys"}
    assert [message.id for message in checks.check_keyset()] == ["ml_models.E003"]


def test_a_tombstone_is_found_again_after_the_primary_key_changed(settings: Settings) -> None:
    before = crypto.subject_hash("child-1")
    old = json.loads(settings.ML_MODELS["KEYSET"])
    settings.ML_MODELS = {**settings.ML_MODELS, "KEYSET": keyset("a0", "a0", **old["keys"])}
    assert crypto.subject_hash("child-1") != before
    assert before in crypto.subject_hashes("child-1")
    assert before not in crypto.subject_hashes("child-2")
