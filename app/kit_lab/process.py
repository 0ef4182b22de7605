"""Which process answers, and how it serves several requests at once."""

import gc
import os
import socket
import sys
import threading
from functools import cache

import psycopg.waiting
from flask import Blueprint, request
from greenlet import getcurrent

from kit_app.database import db

bp = Blueprint("lab_process", __name__)


@bp.get("/process")
def process() -> dict[str, object]:
    """What this process is."""
    return describe_process()


def describe_process() -> dict[str, object]:
    """Return what this process is, as JSON values; `load_average` over 1, 5 and 15 minutes."""
    return {
        "container": socket.gethostname(),
        "pid": os.getpid(),
        "ppid": os.getppid(),
        "worker_class": worker_class(os.getpid()) or _server(),
        "thread": {"id": threading.get_ident(), "name": threading.current_thread().name},
        "greenlet": id(getcurrent()),
        "client": request.remote_addr,
        "scheme": request.scheme,
        "uid": os.getuid(),
        "gid": os.getgid(),
        "groups": os.getgroups(),
        "load_average": os.getloadavg(),
        "gevent_patched": gevent_patched(),
        "database_driver": _driver(),
    }


@cache
def worker_class(_pid: int) -> str | None:
    """Return the class of the gunicorn worker that runs in this process, not the one that was asked for.

    `sync` with more than one thread becomes `gthread`, for example. None: not under gunicorn. Asked once for each
    process, as it looks through all objects.
    """
    if "gunicorn.workers.base" not in sys.modules:
        return None
    base = sys.modules["gunicorn.workers.base"].Worker
    names: dict[str, str] = {path.rpartition(".")[2]: name for name, path in sys.modules["gunicorn.workers"].SUPPORTED_WORKERS.items()}
    for thing in gc.get_objects():
        # Not isinstance(): it asks the object for its class, and a dead weak proxy answers with an exception.
        if issubclass(type(thing), base):
            return names.get(type(thing).__name__, type(thing).__name__)
    return None


def _server() -> str:
    """Return the name of a server that is not gunicorn, as it gives it itself."""
    environ = request.environ
    own = [name for name in ("uwsgi", "mod_wsgi") if f"{name}.version" in environ]
    return own[0] if own else str(environ.get("SERVER_SOFTWARE", "unknown")).partition("/")[0].lower()


def gevent_patched() -> bool:
    """Say whether gevent replaced the blocking sockets of the standard library."""
    monkey = sys.modules.get("gevent.monkey")
    return bool(monkey and monkey.is_module_patched("socket"))


def _driver() -> dict[str, object]:
    """Say whether waiting for the database lets other greenlets run; a driver that does not stops all of them."""
    name = db.engine.dialect.driver
    # psycopg chooses when it is imported: C code that blocks, or Python's select, which gevent replaced.
    waits = getattr(psycopg.waiting.wait, "__name__", "unknown") if name == "psycopg" else None
    return {"name": name, "wait": waits, "cooperative": gevent_patched() and waits not in (None, "wait_c")}
