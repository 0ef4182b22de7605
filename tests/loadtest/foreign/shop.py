"""An application that is not the kit's: a plain WSGI callable, without Flask, without /lab, with a health path of its own."""

from collections.abc import Callable, Iterable
from typing import Any

PRICES = {"/": b"welcome", "/up": b"yes", "/tea": b"3.50"}


def app(environ: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], Any]) -> Iterable[bytes]:
    """Answer with a price, or 404."""
    body = PRICES.get(environ["PATH_INFO"], b"")
    start_response("200 OK" if body else "404 Not Found", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
