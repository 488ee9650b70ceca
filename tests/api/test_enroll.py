from typing import Any

import numpy as np
import pytest
from rest_framework.test import APIClient

from ml_models import crypto, runtime
from ml_models.engine.align import decode_chip
from ml_models.engine.pipeline import chip_crop
from ml_models.models import Embedding, EnsembleConfig, Reference, Subject
from tests.conftest import Portraits
from tests.support.keys import owner
from tests.support.pictures import another, encoded, opened
from tests.support.uploads import enroll, verify

pytestmark = pytest.mark.django_db


def stored_vectors(reference: Reference) -> dict[str, np.ndarray]:
    return {
        e.space: np.frombuffer(
            crypto.open_vector(e.pk, reference.pk, e.space, owner(reference), bytes(e.vector)), "<f4"
        )
        for e in reference.embeddings.all()
    }


def test_enroll_stores_one_chip_and_a_vector_of_every_member(
    service: APIClient, served: EnsembleConfig, portraits: Portraits
) -> None:
    response = enroll(service, "child-1", portraits.eileen_collins)

    body = response.json()
    assert response.status_code == 201
    assert (body["subject_id"], body["config_version"], body["warnings"]) == ("child-1", 2, [])
    assert body["quality"]["reasons"] == []
    reference = Reference.objects.get(pk=body["reference_id"])
    assert {m.space for m in served.members.all()} == set(stored_vectors(reference))


def test_embedding_the_stored_chip_again_gives_the_same_vectors(
    service: APIClient, served: EnsembleConfig, portraits: Portraits
) -> None:
    for data in (portraits.eileen_collins, encoded(opened(portraits.grace_hopper).resize((300, 380)))):
        reference = Reference.objects.get(pk=enroll(service, f"child-{len(data)}", data).json()["reference_id"])
        chip = decode_chip(crypto.open_chip(reference.pk, owner(reference), bytes(reference.chip)))
        vectors = stored_vectors(reference)
        for member in served.members.all():
            again = runtime.model(member.artifact).embed(chip_crop(chip)[None]).vectors[0]
            assert float(again @ vectors[member.space]) >= 0.9999


def test_nothing_biometric_is_stored_in_the_clear(
    service: APIClient, served: EnsembleConfig, portraits: Portraits
) -> None:
    reference = Reference.objects.get(pk=enroll(service, "child-1", portraits.eileen_collins).json()["reference_id"])
    assert b"\xff\xd8\xff" not in bytes(reference.chip)
    for embedding in reference.embeddings.all():
        vector = crypto.open_vector(
            embedding.pk, reference.pk, embedding.space, owner(reference), bytes(embedding.vector)
        )
        assert not any(vector[i : i + 8] in bytes(embedding.vector) for i in range(0, len(vector), 8))


def test_a_second_picture_of_the_same_person_is_added(
    service: APIClient, served: EnsembleConfig, portraits: Portraits
) -> None:
    enroll(service, "child-1", portraits.eileen_collins)
    again = enroll(service, "child-1", another(portraits.eileen_collins))
    assert again.status_code == 201
    assert Subject.objects.get().references.count() == 2
    assert verify(service, "child-1", portraits.eileen_collins).json()["decision"] == "match"


def test_a_face_that_does_not_match_the_template_is_refused(
    service: APIClient, served: EnsembleConfig, portraits: Portraits
) -> None:
    enroll(service, "child-1", portraits.eileen_collins)
    response = enroll(service, "child-1", portraits.grace_hopper)
    assert (response.status_code, response.json()["code"]) == (409, "reference_mismatch")
    assert Reference.objects.count() == 1


def test_the_override_needs_its_own_right_and_is_recorded(
    service: APIClient, served: EnsembleConfig, portraits: Portraits, grant: Any, django_user_model: Any
) -> None:
    enroll(service, "child-1", portraits.eileen_collins)
    refused = enroll(service, "child-1", portraits.grace_hopper, override="true")
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")

    grant(django_user_model.objects.get(username="kiosk"), "override_reference")
    done = enroll(service, "child-1", portraits.grace_hopper, override="true")
    assert done.status_code == 201
    assert done.json()["warnings"]
    assert Reference.objects.get(pk=done.json()["reference_id"]).overridden


def test_a_subject_has_at_most_ten_references(
    service: APIClient, served: EnsembleConfig, portraits: Portraits, settings: Any
) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, "MAX_REFERENCES": 2}
    pictures = [another(portraits.eileen_collins, number) for number in range(3)]
    codes = [enroll(service, "child-1", picture).status_code for picture in pictures]
    assert codes == [201, 201, 409]
    assert Reference.objects.count() == 2


def test_the_summary_shows_no_picture_and_no_vector(
    service: APIClient, served: EnsembleConfig, portraits: Portraits
) -> None:
    made = enroll(service, "child-1", portraits.eileen_collins).json()
    body = service.get("/api/v1/face/subjects/child-1").json()
    assert body["subject_id"] == "child-1"
    assert [set(reference) for reference in body["references"]] == [{"reference_id", "captured_at", "quality_score"}]
    assert body["references"][0]["reference_id"] == made["reference_id"]
    assert service.get("/api/v1/face/subjects/nobody").json()["code"] == "not_found"


def test_erasing_a_reference_and_then_the_subject_leaves_nothing(
    service: APIClient, served: EnsembleConfig, portraits: Portraits, caplog: pytest.LogCaptureFixture
) -> None:
    first = enroll(service, "child-1", portraits.eileen_collins).json()["reference_id"]
    enroll(service, "child-1", another(portraits.eileen_collins))

    # as iOS writes a UUID
    assert service.delete(f"/api/v1/face/references/{first.upper()}").status_code == 204
    assert service.delete(f"/api/v1/face/references/{first}").json()["code"] == "not_found"
    assert Embedding.objects.count() == 3
    subject = Subject.objects.get()
    erased = service.delete("/api/v1/face/subjects/child-1")
    assert f"erased subject {subject.pk} with 1 references" in caplog.text
    assert (erased.status_code, erased.json()["references_erased"]) == (200, 1)
    assert not any(model.objects.exists() for model in (Subject, Reference, Embedding))
    assert service.delete("/api/v1/face/subjects/child-1").json()["code"] == "not_found"
    assert verify(service, "child-1", portraits.eileen_collins).json()["code"] == "not_enrolled"


def test_config_shows_members_digests_and_citations(service: APIClient, served: EnsembleConfig) -> None:
    body = service.get("/api/v1/face/config").json()
    assert body["version"] == 2
    assert [m["weight"] for m in body["members"]] == [0.4, 0.3, 0.3]
    assert all(len(m["sha256"]) == 64 and m["citation"] and m["weights_licence"] for m in body["members"])
    assert body["noncommercial"] is True
    assert "adaface" not in {m["family"] for m in body["members"]}


def test_schema_and_docs_are_served() -> None:
    client = APIClient()
    assert b"/api/v1/face/verify" in client.get("/api/schema/").content
    assert b"swagger" in client.get("/api/docs/").content.lower()
