"""What is wrong with a bucket, in words that name the next step: refused, out of reach, no bucket at all, or no usable
credentials."""

from __future__ import annotations

import contextlib

import requests
from google.api_core import exceptions as google
from google.auth.exceptions import GoogleAuthError, TransportError

from .. import conf

NOT_UNDERSTOOD = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError)
"""What Google's packages, and we, raise where a key file or an answer has not the form that they expect of it."""
_REASON_CHARACTERS = 300


def trouble(name: str, error: Exception) -> str:
    """Whether the bucket refused, could not be reached, or had no usable credentials; and the next step."""
    bucket = conf.get("BUCKET")
    cause = error.cause if isinstance(error, google.RetryError) and error.cause else error
    status = getattr(getattr(cause, "response", None), "status_code", None)
    if status == 401:
        return no_credentials(reason_of(cause))
    if isinstance(cause, GoogleAuthError) and not (isinstance(cause, TransportError) or cause.retryable):
        return no_credentials(reason_of(cause))
    if isinstance(cause, TransportError) and isinstance(cause.__cause__, ValueError):
        return no_credentials(f"their token_uri is no address ({_kind(cause)})")
    if is_page(cause):
        return no_bucket(name, f"it sends a web page ({status})")
    if isinstance(cause, requests.JSONDecodeError):
        return no_bucket(name, "its answer is no JSON")
    if status and status < 400:
        return no_bucket(name, f"it answers {status}")
    if status is None or status in (408, 429) or status >= 500:
        reason = f"it answers {status}" if status else _kind(cause)
        return unreachable(name, reason)
    if status == 403:
        return (
            f"The bucket {bucket} refuses {name}: {reason_of(cause)} (403). Give this service account the role"
            " storage.objectViewer, or storage.objectUser to publish."
        )
    return f"The bucket {bucket} refuses {name}: {reason_of(cause)}. Check ML_MODELS['BUCKET'] and ML_MODELS['PREFIX']."


def unreachable(name: str, reason: str) -> str:
    return (
        f"The bucket {conf.get('BUCKET')} cannot be reached for {name}: {reason}. Check the network, and"
        " STORAGE_EMULATOR_HOST if it is set; then try again."
    )


def no_bucket(name: str, why: str) -> str:
    return (
        f"What was asked for {name} does not answer as the bucket {conf.get('BUCKET')}: {why}. Look whether a proxy or"
        " a log-in page stands between, and at STORAGE_EMULATOR_HOST if it is set; then try again."
    )


def is_page(error: Exception) -> bool:
    """Whether a refusal is a web page: neither the bucket nor Google's other servers send one."""
    answer = getattr(error, "response", None)
    return isinstance(answer, requests.Response) and _begins_a_page(answer.text)


def _begins_a_page(text: str) -> bool:
    return text[:_REASON_CHARACTERS].lstrip().lower().startswith(("<!doctype", "<html"))


def no_credentials(reason: str) -> str:
    return (
        f"The bucket {conf.get('BUCKET')} needs credentials, and there are no usable ones: {reason.rstrip('.')}. Set"
        " GOOGLE_APPLICATION_CREDENTIALS to a service account's key file, or run where an account is attached."
    )


def reason_of(error: Exception) -> str:
    """Google's own words, without the request around them."""
    answer = getattr(error, "response", None)
    text = answer.text if answer is not None else str(error.args[0] if error.args else error)
    if _begins_a_page(text):
        return "a web page came in place of an answer, perhaps a proxy's"
    with contextlib.suppress(*NOT_UNDERSTOOD):
        text = str(answer.json()["error"]["message"])  # type: ignore[union-attr]
    return " ".join(text.split())[:_REASON_CHARACTERS].rstrip(".") or "it gives no reason"


def _kind(error: Exception) -> str:
    """`ConnectionError`, `ReadTimeout`, `SSLError`, …: requests' own class, also behind google.auth's."""
    return type(error.__cause__ if isinstance(error, TransportError) and error.__cause__ else error).__name__
