"""The WSGI application for a server that speaks ASGI: each request goes to a thread."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import wsgi
from asgiref.wsgi import WsgiToAsgi

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def closing(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterator[bytes]:
    """Close the answer at its end; asgiref 3.13.0 does not: nothing would be logged, and no database session ended."""
    body = wsgi.application(environ, start_response)
    try:
        yield from body
    finally:
        if close := getattr(body, "close", None):
            close()


application = WsgiToAsgi(closing)
