"""The application for uWSGI, which ends an answer without a length by closing: a stream that fails half-way would look complete."""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import wsgi
from werkzeug.wsgi import ClosingIterator

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    """Send what has no length in chunks, as the other servers do. Flask has called start_response when it returns."""
    chunked = False

    def start(status: str, headers: list[tuple[str, str]], *rest: object) -> Callable[[bytes], object]:
        nonlocal chunked
        if environ["SERVER_PROTOCOL"] == "HTTP/1.1" and environ["REQUEST_METHOD"] != "HEAD" and status[:3] not in {"204", "304"}:
            chunked = all(name.lower() != "content-length" for name, _ in headers)
        return start_response(status, [*headers, ("Transfer-Encoding", "chunked")] if chunked else headers, *rest)  # type: ignore[arg-type]

    body = wsgi.application(environ, start)
    return ClosingIterator(_chunks(body), getattr(body, "close", None)) if chunked else body


def _chunks(body: Iterable[bytes]) -> Iterator[bytes]:
    for piece in filter(None, body):
        yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"
