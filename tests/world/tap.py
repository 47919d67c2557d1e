"""A wire-tap: stands where a server is believed to be, and writes down what callers send to it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Any, ClassVar

from core.sandbox.network import free_port


class Tap(ThreadingTCPServer):
    """Passes everything on, from the caller's own address. `heard`: requests by connection."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, host: str, target: tuple[str, int]) -> None:
        super().__init__((host, free_port(host)), _Line)
        self.target = target
        self.heard: dict[int, bytearray] = {}

    @property
    def url(self) -> str:
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}"

    def requests(self) -> list[tuple[str, dict[str, str]]]:
        """Each request's first line and headers, as they went over the wire."""
        found: list[tuple[str, dict[str, str]]] = []
        for stream in list(self.heard.values()):
            rest = bytes(stream)
            while b"\r\n\r\n" in rest:
                head, _, rest = rest.partition(b"\r\n\r\n")
                first, *lines = head.decode("latin-1").split("\r\n")
                headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
                rest = rest[int(headers.get("content-length", "0")) :]
                found.append((first, headers))
        return found


class _Line(BaseRequestHandler):
    lock: ClassVar[threading.Lock] = threading.Lock()

    def handle(self) -> None:
        tap: Any = self.server
        with self.lock:
            heard = tap.heard.setdefault(len(tap.heard), bytearray())
        with socket.create_connection(
            tap.target, source_address=(self.client_address[0], 0)
        ) as onward:
            back = threading.Thread(target=_pump, args=(onward, self.request, None), daemon=True)
            back.start()
            _pump(self.request, onward, heard)
            back.join(1)


def _pump(source: socket.socket, sink: socket.socket, heard: bytearray | None) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            if heard is not None:
                heard += data
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


@contextmanager
def tapped(host: str, url: str) -> Generator[Tap]:
    """A tap in front of this server."""
    address, _, port = url.removeprefix("http://").rpartition(":")
    tap = Tap(host, (address, int(port)))
    thread = threading.Thread(target=tap.serve_forever, daemon=True)
    thread.start()
    try:
        yield tap
    finally:
        tap.shutdown()
        tap.server_close()
        thread.join(5)
