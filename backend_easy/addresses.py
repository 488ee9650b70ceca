"""A request's address, before anything is done with it."""

from __future__ import annotations

from urllib.parse import unquote, unquote_to_bytes

from .wsgi_call import Scope


class OddAddress(Exception):
    """The address would be taken for another subject's; the message says what to do."""


def in_origin_form(scope: Scope) -> Scope:
    """A request whose target is a whole URL, as any other. Its host goes before the header's (RFC 9112, 3.2.2)."""
    scheme, _, rest = (scope.get("raw_path") or b"").partition(b"://")
    if not scheme.isalpha():
        return scope
    authority, slash, path = rest.partition(b"/")
    headers = [(name, value) for name, value in scope["headers"] if name != b"host"]
    raw = slash + path or b"/"
    return {**scope, "raw_path": raw, "path": unquote(raw), "headers": [*headers, (b"host", authority)]}


def require_plain(scope: Scope) -> None:
    """Refuse an address that would be taken for another one's.

    Raises: OddAddress
    """
    raw = scope.get("raw_path") or b""
    # Django would make “%EB” of a byte of another encoding: who asks for an erasure would hear that there is nothing
    try:
        unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise OddAddress("The address is not UTF-8. Escape the bytes of UTF-8 in it.") from None
    # unescaped it would be the last slash that an address may have: DELETE of the id “a/” would erase “a”
    if raw[-3:].upper() == b"%2F":
        raise OddAddress("The address ends with an escaped slash, and no id does. Leave the slash out.")
