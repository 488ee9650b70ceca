"""Who is at the other end of a connection, for the limit on log-ins."""

from __future__ import annotations

import ipaddress

from django.conf import settings
from django.http import HttpRequest

# one customer's share of IPv6: a single machine has all of its addresses
_IPV6_PREFIX = 64


def address(request: HttpRequest) -> str | None:
    """The client's address: as the outermost of our `PROXIES` saw it, else the peer's. What a client writes into the
    header itself stands further left and is not read."""
    peer = request.META.get("REMOTE_ADDR") or None  # a socket file has none
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")
    seen = forwarded[-settings.PROXIES].strip() if 0 < settings.PROXIES <= len(forwarded) else peer
    try:
        found = ipaddress.ip_address(seen or "")
    except ValueError:  # empty, or no address
        return peer
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((found, _IPV6_PREFIX), strict=False).network_address)
    return str(found)
