"""Model files: the storage ↔ a verified local file."""

from ..engine.files import sha256_of
from .kinds import KINDS, families
from .loading import load
from .publishing import publish
from .pulling import ensure_local, keep, local_path, object_name, require_in_bucket

__all__ = [
    "KINDS",
    "ensure_local",
    "families",
    "keep",
    "load",
    "local_path",
    "object_name",
    "publish",
    "require_in_bucket",
    "sha256_of",
]
