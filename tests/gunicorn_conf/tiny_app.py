"""The smallest application that can tell what gunicorn made of a request, and of itself."""

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from time import sleep  # by name, at import: what gevent patches later stays as it is here
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

EXPORTED = ("WORKER_CONCURRENCY", "FORWARDED_ALLOW_IPS", "ADDED")
TURN_S = 0.05
TURNS = 400  # 20 s: below gunicorn's timeout, above what a busy machine takes to hear a signal or to connect
arrived: list[str] = []
AT_IMPORT = os.environ.get("WORKER_CONCURRENCY")


def app(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    """/ describes the request, /meet says whether another came in while it waited (?N: N turns at most), /slow waits for a file.

    /401 answers with that status, /200?N with N bytes more. No body is ever read.
    """
    path = environ["PATH_INFO"]
    facts: dict[str, object] = {
        "pid": os.getpid(),
        "path": path,
        "script": environ["SCRIPT_NAME"],
        "scheme": environ["wsgi.url_scheme"],
        "peer": environ["REMOTE_ADDR"],
        "environment": {name: os.environ.get(name) for name in EXPORTED},
        "at_import": AT_IMPORT,
    }
    if path == "/meet":
        arrived.append(path)
        facts["met"] = wait(lambda: len(arrived) > 1, int(environ["QUERY_STRING"] or TURNS))
    elif path == "/slow":
        Path("at-work").touch()
        facts["released"] = wait(Path("release").exists)
    body = json.dumps(facts).encode()
    status = "200"
    if path[1:].isdecimal():
        status, body = path[1:], body + b" " * int(environ["QUERY_STRING"] or 0)
    start_response(f"{status} OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def wait(condition: Callable[[], bool], turns: int = TURNS) -> bool:
    """Wait as a database driver does: by a function that was imported with the application."""
    for _ in range(turns):
        if condition():
            return True
        sleep(TURN_S)
    return False


def create_app(config: str | None = None, *, testing: bool = False) -> Callable[..., Iterable[bytes]]:
    """Make it, as the factory of Flask's tutorial does."""
    assert config is None
    assert not testing
    return app


def with_settings(config: str) -> Callable[..., Iterable[bytes]]:
    """Make it out of an argument that has no default."""
    assert config
    return app


def hidden(*arguments: Any) -> Iterable[bytes]:
    """Be an application that does not say how many arguments it takes."""
    return app(*arguments)
