"""The sample site, but for the paths of the corpus of tests/smuggling: those are recorded, and /witness?N gives the record from byte N."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from werkzeug.wsgi import get_input_stream

from kit_app import create_app
from tests.smuggling import recorder

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

RECORD = Path(os.environ["RECORD_FILE"])
RECORD.touch()
site = create_app()


def app(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    """Answer."""
    path = environ["PATH_INFO"]
    if path == "/witness":
        lines = RECORD.read_bytes()[int(environ["QUERY_STRING"]) :]
        start_response("200 OK", [("Content-Type", "application/jsonl"), ("Content-Length", str(len(lines)))])
        return [lines]
    if path.startswith(("/case/", "/canary/", "/smuggled")):
        environ["wsgi.input"] = get_input_stream(environ)  # without a size, a server may read on beyond the body
        return recorder.app(environ, start_response)
    return site(environ, start_response)
