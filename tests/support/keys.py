"""Keysets for tests, and who a stored row is bound to."""

import base64
import json
import secrets

from ml_models.crypto import Owner
from ml_models.models import Reference


def keyset(primary: str, *ids: str, **keys: str) -> str:
    made = {key: base64.b64encode(secrets.token_bytes(32)).decode() for key in ids}
    return json.dumps({"primary": primary, "keys": {**made, **keys}})


def owner(reference: Reference) -> Owner:
    return Owner(reference.subject_id, reference.subject.subject_id)
