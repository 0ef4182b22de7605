"""Wait for another service, as most web requests do for most of their time."""

import os
import socket
import time
from http import HTTPStatus
from typing import Annotated

import urllib3
from flask import Blueprint, Flask, abort, current_app, request
from pydantic import BaseModel, Field
from urllib3.exceptions import HTTPError, ReadTimeoutError

from kit_app.settings import Settings
from kit_app.validation import validate

bp = Blueprint("lab_wait", __name__)

# The slow service accepts at once or it is away.
_CONNECT_TIMEOUT_S = 1.0
# How much later than asked an answer may come before it counts as lost.
_MARGIN_S = 2.0
# Connections kept for reuse; more are made when needed, and closed after use.
_MOST_KEPT = 1000


class WaitQuery(BaseModel):
    """How long the downstream service is to take; its own cap is the same."""

    ms: Annotated[int, Field(ge=0, le=10_000)] = 50


@bp.get("/wait")
def wait() -> dict[str, object]:
    """Call the slow downstream service over HTTP; 503 when it is away, 504 when it does not answer in time.

    The answer holds the process, and the two moments in seconds of the machine's clock, which all its processes and
    containers share: whether the waits of one process overlap tells whether it serves several requests at once.
    """
    query = validate(WaitQuery, request.args.to_dict())
    started_s = time.monotonic()
    call_downstream(query.ms)
    ended_s = time.monotonic()
    return {
        "asked_ms": query.ms,
        "waited_ms": round((ended_s - started_s) * 1000, 1),
        "container": socket.gethostname(),
        "pid": os.getpid(),
        "started_s": started_s,
        "ended_s": ended_s,
    }


def call_downstream(ms: int) -> None:
    """Wait for the downstream service to answer after `ms`; aborts with 503 or 504."""
    pool, url = current_app.extensions["kit_downstream"]
    if url is None:
        abort(503, "LAB_DOWNSTREAM_URL is not set: there is no service to wait for.")
    timeout = urllib3.Timeout(connect=_CONNECT_TIMEOUT_S, read=ms / 1000 + _MARGIN_S)
    try:
        # Without retries: a second call would hide that the first one failed.
        answer = pool.request("GET", f"{url}/wait", fields={"ms": str(ms)}, timeout=timeout, retries=False)
    except ReadTimeoutError:
        abort(504, "The downstream service did not answer in time.")
    except HTTPError:
        abort(503, "The downstream service is not available.")
    if answer.status != HTTPStatus.OK:
        abort(503, f"The downstream service answered {answer.status}.")


def has_downstream(app: Flask) -> bool:
    """Say whether there is a service to wait for."""
    return app.extensions["kit_downstream"][1] is not None


def init_app(app: Flask, settings: Settings) -> None:
    """Give `app` its connections to the downstream service; none is opened yet."""
    pool = urllib3.PoolManager(maxsize=min(settings.worker_concurrency, _MOST_KEPT))
    url = settings.lab_downstream_url
    app.extensions["kit_downstream"] = (pool, str(url).rstrip("/") if url else None)
