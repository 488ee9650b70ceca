"""The calls of the mobile app."""

from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile
from rest_framework.test import APIClient


def upload(subject_id: str, *images: bytes, **more: Any) -> dict[str, Any]:
    files = [SimpleUploadedFile(f"frame{i}.jpg", data, "image/jpeg") for i, data in enumerate(images)]
    return {"subject_id": subject_id, "image": files, **more}


def enroll(client: APIClient, subject_id: str, *images: bytes, **more: Any) -> Any:
    return client.post("/api/v1/face/enroll", upload(subject_id, *images, **more), format="multipart")


def verify(client: APIClient, subject_id: str, *images: bytes, **more: Any) -> Any:
    return client.post("/api/v1/face/verify", upload(subject_id, *images, **more), format="multipart")


def send(client: APIClient, path: str, body: bytes | str, content_type: str, **headers: str) -> Any:
    """A POST whose body is these very bytes."""
    generic: Any = client.generic  # the stubs know text alone
    return generic("POST", path, body, content_type, **headers)
