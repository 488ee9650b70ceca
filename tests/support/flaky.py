"""A proxy before the bucket emulator. It drops, damages or answers requests as a test asks."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass
class Line:
    """`posts` are the addresses uploads began at, `puts` the Content-Range of each piece that went through.

    `treat` gives the number of a PUT, from 1, and its body → the body to pass on, or None to hang up before the bucket
    hears of it; `treat_post` the body of a POST, `treat_download` the bytes of an object on their way back. `answer`
    gives the method and path of a request → the status and body to answer in the bucket's place, or None to pass it on.
    """

    url: str = ""
    posts: list[str] = field(default_factory=list)
    puts: list[str] = field(default_factory=list)
    treat: Callable[[int, bytes], bytes | None] = lambda number, body: body
    treat_post: Callable[[bytes], bytes] = lambda body: body
    treat_download: Callable[[bytes], bytes] = lambda data: data
    answer: Callable[[str, str], tuple[int, str] | None] = lambda method, path: None
    tried: int = 0


class _Server(ThreadingHTTPServer):
    def __init__(self, line: Line, emulator: str) -> None:
        super().__init__(("127.0.0.1", 0), _Proxy)
        self.line, self.emulator = line, emulator
        line.url = f"http://127.0.0.1:{self.server_port}"


class _Proxy(BaseHTTPRequestHandler):
    server: _Server

    def forward(self) -> None:
        line = self.server.line
        body: bytes | None = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if given := line.answer(self.command, self.path):
            self.reply(given[0], [("Content-Type", "application/json")], given[1].encode())
            return
        if self.command == "POST":
            line.posts.append(self.path)
            body = line.treat_post(body or b"")
        if self.command == "PUT":
            line.tried += 1
            body = line.treat(line.tried, body or b"")
            if body is None:
                self.close_connection = True
                return
            line.puts.append(self.headers["Content-Range"])
        inner = http.client.HTTPConnection(urlsplit(self.server.emulator).netloc)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
        inner.request(self.command, self.path, body, headers)
        answer = inner.getresponse()
        data = answer.read()
        if self.command == "GET" and "alt=media" in self.path and answer.status == 200:
            data = line.treat_download(data)
        self.reply(answer.status, answer.getheaders(), data)
        inner.close()

    def reply(self, status: int, headers: list[tuple[str, str]], data: bytes) -> None:
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value.replace(self.server.emulator, self.server.line.url))
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_DELETE = forward  # noqa: N815  # http.server's names

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def flaky_line(emulator: str) -> Iterator[Line]:
    line = Line()
    server = _Server(line, emulator)
    # a short poll: `shutdown` waits for it
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield line
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
