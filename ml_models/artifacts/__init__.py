"""Model files: the bucket ↔ a verified local file."""

from .kinds import KINDS
from .loading import load
from .publishing import ensure_local, local_path, object_name, publish, require_in_bucket, sha256_of

__all__ = ["KINDS", "ensure_local", "load", "local_path", "object_name", "publish", "require_in_bucket", "sha256_of"]
