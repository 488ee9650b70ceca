"""A TCP proxy that can become a hole: connections stay open, new ones are accepted, and nothing comes through."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Blackhole:
    """Listens on a free loopback port and forwards to `target` until `swallow`; `restore` forwards again.

    What was swallowed is lost, so connections from before are cut at `restore`, as a network does that was away long.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._open = threading.Event()
        self._open.set()
        self._refuses = False
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def swallow(self) -> None:
        self._open.clear()

    def refuse(self) -> None:
        """Cut every connection, and each new one as soon as it is made."""
        self._refuses = True
        self.swallow()
        self._cut()

    def restore(self) -> None:
        self._refuses = False
        self._cut()
        self._open.set()

    def close(self) -> None:
        self._listener.close()
        self._cut()

    def _cut(self) -> None:
        sockets, self._sockets = self._sockets, []
        for one in sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                if self._refuses:
                    self._cut()
                if not self._open.is_set():
                    continue
                server = socket.create_connection(self._target)
                self._sockets.append(server)
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                if self._open.is_set():
                    sink.sendall(data)
            if self._open.is_set():
                sink.shutdown(socket.SHUT_WR)


@contextmanager
def blackhole(host: str, port: int) -> Iterator[Blackhole]:
    proxy = Blackhole((host, port))
    try:
        yield proxy
    finally:
        proxy.close()
