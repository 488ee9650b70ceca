"""Keysets for tests."""

import base64
import json
import secrets


def keyset(primary: str, *ids: str, **keys: str) -> str:
    made = {key: base64.b64encode(secrets.token_bytes(32)).decode() for key in ids}
    return json.dumps({"primary": primary, "keys": {**made, **keys}})
