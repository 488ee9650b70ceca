"""Model files: the bucket ↔ a verified local file."""

from .publishing import ensure_local, local_path, object_name, publish, require_in_bucket, sha256_of

__all__ = ["ensure_local", "local_path", "object_name", "publish", "require_in_bucket", "sha256_of"]
