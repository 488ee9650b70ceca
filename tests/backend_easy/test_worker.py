"""Connections that are idle, over a real gunicorn: no request is lost on one."""

import http.client
import re
import runpy
import socket
import time
from collections.abc import Iterator
from contextlib import closing

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
