"""The service under measurement: DEVSTACK_URL with DEVSTACK_API_KEY, which `make bench` sets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psutil

from devstack.demo import Service

SUBJECT, NEWCOMER = "bench-collins", "bench-newcomer"
PICTURE_NAME = "photo.jpg"


def client() -> Service:
    return Service(os.environ["DEVSTACK_URL"], os.environ["DEVSTACK_API_KEY"])


@contextmanager
def enrolled(picture: bytes) -> Iterator[Service]:
    """The subject of the verifies; it and the newcomer are gone afterwards."""
    service = client()
    try:
        for subject in (SUBJECT, NEWCOMER):
            service.erase(subject)
        ask(service, "enroll", SUBJECT, picture)
        yield service
    finally:
        for subject in (SUBJECT, NEWCOMER):
            service.erase(subject)


def ask(service: Service, call: str, subject: str, *pictures: bytes, **fields: str) -> None:
    """A call that has to succeed: a refusal is quick, and would pass for speed."""
    if code := service.post(call, subject, *pictures, **fields).get("code"):
        raise SystemExit(f"The service refused to {call}: {code}. Nothing was measured.")


def ask_group(service: Service, group: str, picture: bytes) -> None:
    """An identification that has to name the subject."""
    answer = service.identify(group, picture)
    if answer.get("subject_id") != SUBJECT:
        came = answer.get("code") or answer.get("decision")
        raise SystemExit(f"The service did not name the subject: {came}. Nothing was measured.")


def request(call: str, picture: bytes, **fields: str) -> bytes:
    """A call as bytes on a connection that stays open."""
    part = b"--bench\r\nContent-Disposition: form-data; name="
    body = b"".join(part + f'"{name}"\r\n\r\n{value}\r\n'.encode() for name, value in fields.items())
    body += part + b'"image"; filename="' + PICTURE_NAME.encode() + b'"\r\n\r\n' + picture + b"\r\n--bench--\r\n"
    url = urlsplit(os.environ["DEVSTACK_URL"])
    head = (
        f"POST /api/v1/face/{call} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Length: {len(body)}\r\n"
        f"Authorization: Api-Key {os.environ['DEVSTACK_API_KEY']}\r\n"
        "Content-Type: multipart/form-data; boundary=bench\r\n\r\n"
    )
    return head.encode() + body


def web_processes() -> list[psutil.Process]:
    """The server at DEVSTACK_URL and its workers."""
    port = urlsplit(os.environ["DEVSTACK_URL"]).port
    listening = [c for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    listening = [c for c in listening if c.laddr and c.laddr.port == port]
    one = psutil.Process(listening[0].pid)
    parent = one.parent()
    server = parent if parent and any("gunicorn" in word for word in parent.cmdline()) else one
    return [server, *server.children(recursive=True)]


def resident_mb() -> float:
    """The memory of all of them."""
    return sum(process.memory_info().rss for process in web_processes()) / 1e6
