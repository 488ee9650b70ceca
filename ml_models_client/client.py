"""Sending a call, and sending it again by the table of docs/errors.md."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from time import sleep
from typing import Any, TypeVar, cast

import httpx

from .calls import Call

T = TypeVar("T")
_PATH = "/api/v1/face/"
# seconds before each repetition where nothing came back
_SILENCE_S = (1.0, 2.0, 4.0, 8.0)
_OF_PROXIES = (502, 503, 504)
# so many repetitions at most after `Retry-After`
_MOST_WAITS = 4
WAITS = ("idempotency_in_progress", "throttled", "not_ready", "overloaded")
ONCE = ("config_changed", "inference_failed", "internal_error")
# where somebody shows too many wrong faces, the wait is minutes: for a person to hear of
_LONGEST_WAIT_S = 60.0

# the network's; and of a body that no decoder reads
_BROKEN = (httpx.TransportError, httpx.DecodingError)
_Flow = Generator[float, httpx.Response | httpx.RequestError, httpx.Response]


class Problem(Exception):
    """The service's refusal: decide by `code`, show `detail`. `document` is the whole of it (RFC 9457)."""

    def __init__(self, response: httpx.Response) -> None:
        self.status = response.status_code
        self.document: dict[str, Any] = document if isinstance(document := _json(response), dict) else {}
        self.code = str(self.document.get("code", "unknown"))
        self.detail = str(self.document.get("detail", ""))
        self.retry_after_s = _seconds(response)
        super().__init__(f"{self.status} {self.code}")


def _json(response: httpx.Response) -> Any:
    """None for what is no JSON: the page of a proxy, or of a network that wants a log-in first."""
    try:
        return response.json()
    except ValueError:
        return None


def _seconds(response: httpx.Response) -> float | None:
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else None


def _wait_s(problem: Problem | httpx.RequestError, tries: int) -> float | None:
    """Seconds after which to repeat a call, None for not at all."""
    # a proxy that got no answer from the service, or no connection, has none to tell of
    if not isinstance(problem, Problem) or (problem.code == "unknown" and problem.status in _OF_PROXIES):
        return _SILENCE_S[tries - 1] if tries <= len(_SILENCE_S) else None
    if problem.code in ONCE:
        return 1.0 if tries == 1 else None
    wait = problem.retry_after_s
    if problem.code not in WAITS or wait is None or wait > _LONGEST_WAIT_S or tries > _MOST_WAITS:
        return None
    return wait


def _attempts() -> _Flow:
    """Yields seconds after which to send the call, and is sent what came. Returns: the answer.

    Raises: Problem, httpx.TransportError, httpx.DecodingError
    """
    wait_s, tries = 0.0, 0
    while True:
        came = yield wait_s
        tries += 1
        if isinstance(came, httpx.Response) and _is_answer(came):
            return came
        error = Problem(came) if isinstance(came, httpx.Response) else came
        after = _wait_s(error, tries)
        if after is None:
            raise error
        wait_s = after


def _is_answer(response: httpx.Response) -> bool:
    return response.is_success and (not response.content or isinstance(_json(response), dict))


def _request(client: httpx.Client | httpx.AsyncClient, call: Call[Any]) -> httpx.Request:
    headers = {"Idempotency-Key": call.key} if call.key else {}
    if call.images:
        files = [("image", (f"frame{i}", image, "application/octet-stream")) for i, image in enumerate(call.images)]
        return client.build_request(call.method, _PATH + call.path, data=call.fields, files=files, headers=headers)
    body = call.fields if call.method != "GET" and call.fields else None
    return client.build_request(call.method, _PATH + call.path, json=body, headers=headers)


def _answer(response: httpx.Response) -> Any:
    return response.json() if response.content else None


class Client:
    """Args:
    base_url: of the service, with the host's prefix before `/api/v1/face/`.
    api_key: of the host; `scheme` is what stands before it in Authorization.
    timeout_s: for connecting, and for each answer.
    transport: of httpx, for proxies and certificates of your own.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        scheme: str = "Api-Key",
        timeout_s: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        headers = {"Authorization": f"{scheme} {api_key}"}
        self._http = httpx.Client(base_url=base_url, headers=headers, timeout=timeout_s, transport=transport)

    def send(self, call: Call[T]) -> T:
        """Raises: Problem; httpx.TransportError or DecodingError where nothing whole came back, five times."""
        flow = _attempts()
        wait_s = next(flow)
        try:
            while True:
                if wait_s:
                    sleep(wait_s)
                came: httpx.Response | httpx.RequestError
                try:
                    came = self._http.send(_request(self._http, call))
                except _BROKEN as error:
                    came = error
                wait_s = flow.send(came)
        except StopIteration as done:
            return cast(T, _answer(done.value))

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient:
    """As `Client`."""

    def __init__(
        self,
        base_url: str,
        api_key: str,
        scheme: str = "Api-Key",
        timeout_s: float = 30.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        headers = {"Authorization": f"{scheme} {api_key}"}
        self._http = httpx.AsyncClient(base_url=base_url, headers=headers, timeout=timeout_s, transport=transport)

    async def send(self, call: Call[T]) -> T:
        """As `Client.send`."""
        flow = _attempts()
        wait_s = next(flow)
        try:
            while True:
                if wait_s:
                    await asyncio.sleep(wait_s)
                came: httpx.Response | httpx.RequestError
                try:
                    came = await self._http.send(_request(self._http, call))
                except _BROKEN as error:
                    came = error
                wait_s = flow.send(came)
        except StopIteration as done:
            return cast(T, _answer(done.value))

    async def aclose(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
