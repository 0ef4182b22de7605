"""Do the values of one request stay its own while others run? They do in Flask's proxies, and not in a global."""

import secrets
import threading
import time
from contextvars import ContextVar
from typing import Annotated

from flask import Blueprint, current_app, g, request, session
from pydantic import BaseModel, Field

from kit_app.schemas import validate
from kit_lab.process import describe_process
from kit_lab.wait import call_downstream, has_downstream

bp = Blueprint("lab_context", __name__)

_variable: ContextVar[str | None] = ContextVar("lab_context", default=None)
_local = threading.local()
# The negative twin: one value for all requests of the process, as a module global is.
_shared: dict[str, str | None] = {"value": None}


class ContextQuery(BaseModel):
    """How long the others get time to interfere."""

    ms: Annotated[int, Field(ge=0, le=2000)] = 50


@bp.get("/context")
def context() -> dict[str, object]:
    """Set a value in every kind of storage, wait, and say where it is still there.

    `own`: what was read after the wait is what was set before it. `left_over`: the storage held a value before we set
    one, from an earlier request on the same thread. Flask's proxies are new in each request; the others are not.
    """
    query = validate(ContextQuery, request.args.to_dict())
    left_over = {name: value is not None for name, value in _read().items()}
    token = secrets.token_hex(8)
    _write(token)
    _wait(query.ms)
    own = {name: value == token for name, value in _read().items()}
    process = describe_process()
    return {"token": token, "own": own, "left_over": left_over, "worker_class": process["worker_class"], "pid": process["pid"]}


def _write(token: str) -> None:
    request.environ["lab.context"] = token
    g.lab_context = token
    session["lab_context"] = token
    _variable.set(token)
    _local.value = token
    _shared["value"] = token


def _read() -> dict[str, str | None]:
    return {
        "request": request.environ.get("lab.context"),
        "g": g.get("lab_context"),
        "session": session.get("lab_context"),
        "context_variable": _variable.get(),
        "thread_local": getattr(_local, "value", None),
        "module_global": _shared["value"],
    }


def _wait(ms: int) -> None:
    if has_downstream(current_app):
        call_downstream(ms)
    else:
        time.sleep(ms / 1000)
