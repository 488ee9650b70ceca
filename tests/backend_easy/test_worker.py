"""Connections that are idle, over a real gunicorn: no request is lost on one."""

import http.client
import json
import re
import runpy
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import psutil
import pytest

from backend_easy.worker import _LAST_SHARE
from devstack.state import ROOT
from tests.support.gunicorn import Server, gunicorn

pytestmark = pytest.mark.django_db(transaction=True)

PROBE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
KEEPALIVE_S, GRACEFUL_S = 2, 3


@pytest.fixture(scope="module")
def server(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    changes = {"WEB_KEEPALIVE": str(KEEPALIVE_S), "WEB_GRACEFUL_TIMEOUT": str(GRACEFUL_S)}
    with gunicorn(tmp_path_factory.mktemp("gunicorn"), changes) as started:
        yield started


def idle(server: Server) -> socket.socket:
    """A connection on which one request was answered."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    connection.sendall(PROBE)
    assert b"Connection: close" not in answer(connection)
    return connection


def answer(connection: socket.socket) -> bytes:
    """Its head; empty where the server has closed the connection."""
    response = http.client.HTTPResponse(connection, method="GET")
    try:
        response.begin()
    except http.client.RemoteDisconnected:
        return b""
    assert (response.status, response.read()) == (200, b'{"status":"ok"}')
    return str(response.headers).encode()


def test_a_request_that_has_begun_is_not_lost_when_the_idle_time_ends(server: Server) -> None:
    with closing(idle(server)) as slow, closing(idle(server)) as unused:
        slow.sendall(PROBE[:20])
        # the server closes what nobody uses
        assert answer(unused) == b""
        time.sleep(0.3)
        slow.sendall(PROBE[20:])
        assert answer(slow)


@pytest.mark.parametrize(
    "head", ["Transfer-Encoding: xchunked", "A: " + "a" * 20_000, "A: \0", "Content-Length: " + "9" * 5000]
)
def test_what_is_no_HTTP_is_the_client_s_to_mend_and_is_told_what_there_may_be(server: Server, head: str) -> None:
    answered = server.raw(f"POST /healthz HTTP/1.1\r\nHost: localhost\r\n{head}\r\n\r\n".encode())
    problem = json.loads(answered.partition(b"\r\n\r\n")[2])
    assert (problem["code"], "chunked" in problem["detail"]) == ("invalid_request", True)


def test_a_body_in_very_many_very_small_chunks_is_not_read(server: Server) -> None:
    """Each costs the loop more than a hundred bytes would: one client would keep everybody waiting."""
    head = b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    problem = json.loads(server.raw(head + b"2\r\nab\r\n" * 2000).partition(b"\r\n\r\n")[2])
    assert (problem["code"], "64 bytes" in problem["detail"]) == ("invalid_request", True)
    few, large = b"2\r\nab\r\n" * 900, (b"50\r\n" + b"a" * 0x50 + b"\r\n") * 2000
    for chunks in (few, large):
        answered = server.raw(head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + chunks + b"0\r\n\r\n")
        assert b"64 bytes" not in answered


@pytest.mark.parametrize("charset", ["charset=rot13", "charset=zlib", "charset*=none''x"])
def test_no_charset_that_a_client_names_breaks_a_call(server: Server, charset: str) -> None:
    with closing(socket.create_connection(("127.0.0.1", server.port), timeout=20)) as connection:
        head = f"Host: localhost\r\nContent-Type: application/json; {charset}\r\n\r\n"
        connection.sendall(f"GET /healthz?x=%FF HTTP/1.1\r\n{head}".encode())
        assert answer(connection)


def test_who_asks_for_a_web_socket_is_answered_in_HTTP(server: Server) -> None:
    head = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
    with closing(socket.create_connection(("127.0.0.1", server.port), timeout=20)) as connection:
        connection.sendall(PROBE[:-2] + f"{head}dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode())
        assert answer(connection)


def test_a_crowd_connects_at_once_while_the_process_is_busy(server: Server) -> None:
    """Whom the kernel has no room for asks again after a second."""
    worker = server.worker
    worker.suspend()
    try:
        crowd = [socket.create_connection(("127.0.0.1", server.port), timeout=0.9) for _ in range(300)]
    finally:
        worker.resume()
    with ExitStack() as opened:
        for connection in crowd:
            opened.enter_context(closing(connection)).settimeout(20)
        for connection in crowd:
            connection.sendall(PROBE)
            assert answer(connection)


def test_without_a_file_left_the_connections_that_there_are_go_on(server: Server) -> None:
    worker = server.worker
    soft, hard = worker.rlimit(psutil.RLIMIT_NOFILE)
    with closing(idle(server)) as used:
        used_ones = {int(file.name) for file in Path(f"/proc/{worker.pid}/fd").iterdir()}
        worker.rlimit(psutil.RLIMIT_NOFILE, (min({*range(1000)} - used_ones), hard))
        try:
            with closing(socket.create_connection(("127.0.0.1", server.port), timeout=20)) as new:
                time.sleep(1.5)
                used.sendall(PROBE)
                assert answer(used)
                worker.rlimit(psutil.RLIMIT_NOFILE, (soft, hard))
                new.sendall(PROBE)
                assert answer(new)
        finally:
            worker.rlimit(psutil.RLIMIT_NOFILE, (soft, hard))
    # each attempt of the loop's says so with a traceback, in which nobody is answered
    assert 1 <= server.log.read_text().count("out of system resource") < 100


def test_a_process_that_stops_answers_what_comes_on_an_idle_connection_and_ends(server: Server) -> None:
    worker = server.worker
    with closing(idle(server)) as used, closing(idle(server)) as unused, closing(socket.socket()) as silent:
        silent.connect(("127.0.0.1", server.port))  # as browsers open one to have it
        worker.terminate()
        while "Worker shutting down" not in server.log.read_text():
            time.sleep(0.02)
        used.sendall(PROBE)
        assert b"Connection: close" in answer(used)
        assert used.recv(1) == b""
        assert unused.recv(1) == b""
        assert silent.recv(1) == b""
    psutil.wait_procs([worker], timeout=20)
    assert not worker.is_running()
    # what it says of connections that would not end
    assert "Forcing close" not in server.log.read_text()
    with closing(server.connect()) as connection:
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200
    assert server.worker.pid != worker.pid


def test_each_proxy_gives_its_idle_connections_up_before_the_service_does(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WEB_KEEPALIVE", "WEB_GRACEFUL_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    settings = runpy.run_path(str(ROOT / "config" / "gunicorn.conf.py"))
    found = re.search(r"^\s*keepalive (\d+)s$", (ROOT / "config/compose/Caddyfile").read_text(), re.MULTILINE)
    assert found
    assert int(found[1]) < _LAST_SHARE * settings["graceful_timeout"] < settings["keepalive"]
    assert settings["keepalive"] > 60  # ingress-nginx's upstream-keepalive-timeout
