"""A page to try the camera on: guidance from `quality`, then enroll and verify, with or without a challenge. It holds
no right and no key."""

from __future__ import annotations

from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.cache import patch_vary_headers
from django.utils.translation import get_language_bidi
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from ml_models import conf

from . import texts

# everything comes from the page's own origin, nothing stands in the page itself, and no other page frames it
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self' blob: mediastream:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@require_safe
@transaction.non_atomic_requests
def page(request: HttpRequest) -> HttpResponse:
    """The page, in the browser's language. Raises: Http404 where the setting TRY_PAGE is off."""
    if not conf.get("TRY_PAGE"):
        raise Http404
    calls = {name: reverse(f"ml_models:{name}") for name in ("quality", "challenges", "enroll", "verify")}
    with texts.spoken(request) as language:
        direction = "rtl" if get_language_bidi() else "ltr"
        context = {"language": language, "direction": direction, "calls": calls, "says": _said()}
        response = render(request, "ml_models/try.html", context)
    response["Content-Language"] = language
    response["Content-Security-Policy"] = _POLICY
    response["Permissions-Policy"] = "camera=(self)"
    response["Cache-Control"] = "no-store"
    patch_vary_headers(response, ["Accept-Language"])
    return response


def _said() -> dict[str, str]:
    """What the script says."""
    return {
        "good": _("The picture is good."),
        "camera": _("The camera cannot be used. Allow it in the browser; the page has to come over HTTPS."),
        "lost": _("The service does not answer. Try again."),
        "enrolled": _("Enrolled."),
        "match": _("Match."),
        "review": _("Not sure. Take another picture, or let a person decide."),
        "no_match": _("No match."),
        "live": _("Somebody is there."),
    }
