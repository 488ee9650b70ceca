"""Does a call come from the host's own app, on a phone that nobody tampered with? Play Integrity and App Attest say so
by a token, which a class of the host's checks: `ML_MODELS["ATTESTATION"]`."""

from __future__ import annotations

from typing import Protocol

from django.utils.module_loading import import_string
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request

from ml_models import conf
from ml_models.exceptions import NotAttested

HEADER = "X-Attestation"
PARAMETER = OpenApiParameter(
    HEADER,
    str,
    OpenApiParameter.HEADER,
    description="The phone's attestation token, where this deployment asks for one (`not_attested`).",
)


class Attestation(Protocol):
    """What the dotted path names; made anew for each call, without arguments."""

    def accepts(self, token: str, request: Request) -> bool:
        """Whether the token is good, for this call: True alone opens.

        Args:
            token: from the header `X-Attestation`; never empty.
            request: its fields are in `request.data`. Hold the token to `nonce`, the challenge's: a challenge can be
                answered once, and so a token can be used once.

        Raises: whatever it likes, where it cannot tell: the call is then refused, as `internal_error`.
        """


def require(request: Request) -> None:
    """Ask the host's class, before any picture is decoded. Nothing is asked where the setting is None.

    Raises:
        NotAttested: no token was sent, or one that is not good.
    """
    path = conf.get("ATTESTATION")
    if path is None:
        return
    attestation: Attestation = import_string(path)()
    token = request.headers.get(HEADER, "")
    # what is true without being True, a coroutine or a dict of claims, is no answer
    if not token or attestation.accepts(token, request) is not True:
        raise NotAttested
