"""A backend that shows what nginx passed on. Run by gunicorn (gthread, one worker), so that requests can wait for each other."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs

Answer = tuple[str, dict[str, str], list[bytes] | Iterator[bytes]]

# Set by POST /release: what /stream waits for between its two chunks.
released = threading.Event()
# As small as a server-sent event, and too random to be compressed away: a compressed first chunk has a size too.
CHUNK = hashlib.sha512(b"chunk").hexdigest().encode()


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes] | Iterator[bytes]:
    """Answer by the first part of the path; anything unknown is echoed."""
    views = {"status": own_status, "text": text, "stream": stream, "release": release, "large-header": large_header}
    view = views.get(environ["PATH_INFO"].split("/")[1], echo)
    status, headers, body = view(environ)
    start_response(status, [*headers.items()])
    return body


def echo(environ: dict[str, Any]) -> Answer:
    """Everything that reached the app, and its own X-Request-ID and Server, which nobody outside may see."""
    body = environ["wsgi.input"].read()
    seen = {
        "method": environ["REQUEST_METHOD"],
        "target": environ["RAW_URI"],
        "headers": {name[5:].replace("_", "-").lower(): value for name, value in environ.items() if name.startswith("HTTP_")},
        "body": body.decode("latin-1"),
        "port": environ["SERVER_PORT"],
    }
    headers = {"Content-Type": "application/json", "X-Request-ID": "from-the-app", "Server": "secret/1.0"}
    return "200 OK", headers, [json.dumps(seen).encode()]


def own_status(environ: dict[str, Any]) -> Answer:
    """`/status/<code>`: an error of the app's own, with headers of its own."""
    code = environ["PATH_INFO"].split("/")[2]
    headers = {
        "Content-Type": "text/plain",
        "X-Frame-Options": "DENY",
        "Retry-After": "77",
        "Content-Security-Policy": "default-src 'self'",
    }
    return f"{code} Mine", headers, [b"the app's own page"]


def text(environ: dict[str, Any]) -> Answer:
    """`/text?type=…&encoding=…`: 20 kB that compress well."""
    query = parse_qs(environ["QUERY_STRING"])
    headers = {"Content-Type": query.get("type", ["text/html"])[0]}
    if "encoding" in query:
        headers["Content-Encoding"] = query["encoding"][0]
    return "200 OK", headers, [b"hello world " * 1700]


def stream(environ: dict[str, Any]) -> Answer:
    """Two chunks, the second when POST /release came; `?buffering=no` says that the first may not be held back."""
    headers = {"Content-Type": "text/plain"}
    if "buffering=no" in environ["QUERY_STRING"]:
        headers["X-Accel-Buffering"] = "no"
    released.clear()

    def chunks() -> Iterator[bytes]:
        yield CHUNK
        released.wait(60)
        yield CHUNK

    return "200 OK", headers, chunks()


def release(_: dict[str, Any]) -> Answer:
    released.set()
    return "204 No Content", {}, []


def large_header(environ: dict[str, Any]) -> Answer:
    """`/large-header?bytes=…`: an answer whose header has that size."""
    size = int(parse_qs(environ["QUERY_STRING"])["bytes"][0])
    return "200 OK", {"Content-Type": "text/plain", "X-Large": "x" * size}, [b"ok"]
