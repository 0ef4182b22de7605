"""Backends by the byte: what a well-behaved server would never do, to see what nginx does then."""

import socket
import socketserver
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass(slots=True)
class Seen:
    """One request as it arrived, complete."""

    method: str
    target: str
    headers: dict[str, str]  # names in lower case
    body: bytes


class QuietServer(socketserver.ThreadingTCPServer):
    """A thread for each connection; what goes wrong in one is no news here: nginx closes and resets them."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing."""


class InThread:
    """A server of socketserver's that runs in a thread while the block does."""

    _server: socketserver.TCPServer

    def _serve(self, server: socketserver.TCPServer) -> Self:
        self._server = server
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def address(self) -> str:
        """Where it listens, "host:port"."""
        host, port = self._server.server_address[:2]
        return f"{host!s}:{port}"


@dataclass
class RawBackend(InThread):
    """Reads each request completely, keeps it in `seen`, then does what `behave` says. Keeps connections alive."""

    behave: Callable[[socket.socket, Seen], None]
    seen: list[Seen] = field(default_factory=list)

    def __enter__(self) -> Self:
        backend = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                while request := read_request(self.rfile):
                    backend.seen.append(request)
                    try:
                        backend.behave(self.connection, request)
                    except OSError:
                        return  # closed, by `behave` or by nginx

        return self._serve(QuietServer(("127.0.0.1", 0), Handler))


def read_request(stream: Any) -> Seen | None:
    """Return the next request of a connection, or None at its end."""
    try:
        line = stream.readline()
        if not line:
            return None
        method, target, _ = line.decode("latin-1").split(" ", 2)
        headers = {}
        while (line := stream.readline()) != b"\r\n":
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        return Seen(method, target, headers, stream.read(int(headers.get("content-length", 0))))
    except (OSError, ValueError):
        return None


def answer(connection: socket.socket, _: Seen) -> None:
    """Say 200 and keep the connection."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def hang_up(connection: socket.socket, _: Seen) -> None:
    """Close without a word: what was asked may have been done or not."""
    connection.shutdown(socket.SHUT_RDWR)
    raise ConnectionAbortedError


def answer_after(event: threading.Event) -> Callable[[socket.socket, Seen], None]:
    """Return what says nothing before `event` (or a minute is over)."""

    def behave(connection: socket.socket, seen: Seen) -> None:
        event.wait(60)
        answer(connection, seen)

    return behave


class Refusing:
    """An address where nobody listens, kept so that nobody else can."""

    def __enter__(self) -> Self:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
