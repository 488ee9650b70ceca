"""A lossy line to the bucket emulator: a proxy that drops or damages the uploads it is told to."""

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
    """`posts` are the addresses uploads began at, `puts` the Content-Range of each piece that went through; `treat`
    gives the number of a PUT, from 1, and its body → the body to pass on, or None to hang up before the bucket hears
    of it."""

    url: str = ""
    posts: list[str] = field(default_factory=list)
    puts: list[str] = field(default_factory=list)
    treat: Callable[[int, bytes], bytes | None] = lambda number, body: body
    tried: int = 0


@contextmanager
def flaky_line(emulator: str) -> Iterator[Line]:
    line, behind = Line(), urlsplit(emulator).netloc

    class Proxy(BaseHTTPRequestHandler):
        def forward(self) -> None:
            body: bytes | None = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.command == "POST":
                line.posts.append(self.path)
            if self.command == "PUT":
                line.tried += 1
                body = line.treat(line.tried, body or b"")
                if body is None:
                    self.close_connection = True
                    return
                line.puts.append(self.headers["Content-Range"])
            inner = http.client.HTTPConnection(behind)
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            inner.request(self.command, self.path, body, headers)
            answer = inner.getresponse()
            data = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value.replace(emulator, line.url))
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            inner.close()

        do_GET = do_POST = do_PUT = do_DELETE = forward  # noqa: N815  # http.server's names

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    line.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield line
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
