"""A WSGI application that writes down every request that reaches it, so that a smuggled one is seen whatever is answered.

One JSON line per request in the file of RECORD_FILE: what the tests count is this file, not what came back.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def app(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    """Answer with what arrived, as JSON."""
    arrived: dict[str, object] = {
        "method": environ["REQUEST_METHOD"],
        # WSGI's bytes as latin-1; the tests compare bytes.
        "path": environ["PATH_INFO"],
        "query": environ["QUERY_STRING"],
        "headers": {name[5:].lower(): value for name, value in environ.items() if name.startswith("HTTP_")},
        "body": environ["wsgi.input"].read().decode("latin-1"),
    }
    line = json.dumps(arrived).encode()
    if environ["PATH_INFO"] != "/":  # the question whether gunicorn is up
        record(line)
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(line)))])
    # tornado's worker breaks off when the answer to a HEAD has a body; Flask's answers have none.
    return [line] if environ["REQUEST_METHOD"] != "HEAD" else []


def record(line: bytes) -> None:
    """Append in one write, so that threads do not mix their lines."""
    descriptor = os.open(Path(os.environ["RECORD_FILE"]), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line + b"\n")
    finally:
        os.close(descriptor)
