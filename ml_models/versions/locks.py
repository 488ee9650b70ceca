"""The one advisory lock that keeps writes and changes of version apart. PostgreSQL, until the transaction's end."""

from django.db import connection

# any number, the same in every process of the deployment: "ml_models" in ASCII, cut to 63 bits
_VERSIONS = int.from_bytes(b"ml_model", "big") & (2**63 - 1)


def share_versions() -> None:
    """Hold the set of served versions still while embeddings are written."""
    _lock("pg_advisory_xact_lock_shared")


def change_versions() -> None:
    """Wait for running writes and keep new ones out while the served versions change."""
    _lock("pg_advisory_xact_lock")


def _lock(function: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {function}(%s)", [_VERSIONS])
