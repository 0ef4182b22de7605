"""The application for uWSGI, which ends an answer without a length by closing: a stream that fails half-way would look complete."""

import os
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import uwsgi
import wsgi
from werkzeug.wsgi import ClosingIterator

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    """Send what has no length in chunks, as the other servers do. Flask has called start_response when it returns."""
    send: Callable[[Iterable[bytes]], Iterator[bytes]] | None = None

    def start(status: str, headers: list[tuple[str, str]], *rest: object) -> Callable[[bytes], object]:
        nonlocal send
        endless = all(name.lower() != "content-length" for name, _ in headers)
        if endless and environ["REQUEST_METHOD"] != "HEAD" and status[:3] not in {"204", "304"}:
            send = _chunks if environ["SERVER_PROTOCOL"] == "HTTP/1.1" else _whole_or_reset
        return start_response(status, [*headers, ("Transfer-Encoding", "chunked")] if send is _chunks else headers, *rest)  # type: ignore[arg-type]

    body = wsgi.application(environ, start)
    return ClosingIterator(send(body), getattr(body, "close", None)) if send else body


def _chunks(body: Iterable[bytes]) -> Iterator[bytes]:
    for piece in filter(None, body):
        yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"


def _whole_or_reset(body: Iterable[bytes]) -> Iterator[bytes]:
    """Where there are no chunks (HTTP/1.0, uwsgi_pass), have the connection reset and not closed when the view fails."""
    try:
        yield from body
    except Exception:
        with socket.socket(fileno=os.dup(uwsgi.connection_fd())) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise
