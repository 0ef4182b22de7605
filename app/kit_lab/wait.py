"""Wait for another service, as most web requests do for most of their time."""

import os
import socket
import threading
import time
from http import HTTPStatus
from typing import Annotated

import urllib3
from flask import Blueprint, Flask, abort, current_app, request
from pydantic import BaseModel, Field, HttpUrl, TypeAdapter, ValidationError
from urllib3.exceptions import HTTPError, ReadTimeoutError
from werkzeug.exceptions import ServiceUnavailable

from kit_app.problems import RETRY_AFTER_S
from kit_app.schemas import validate
from kit_app.settings import Settings, SettingsError
from kit_flask.breaker import Breaker

bp = Blueprint("lab_wait", __name__)

# The slow service accepts at once or it is away.
_CONNECT_TIMEOUT_S = 1.0
# How much later than asked an answer may come before it counts as lost. With the longest wait, 13 s in all: far below gunicorn's timeout
# (30 s), which would kill a sync worker with the request, and below nginx's (35 s), whose 504 would not say which service was late.
_MARGIN_S = 2.0
# How long the thread that finds out waits for an answer, and then until it asks again.
_PROBE_TIMEOUT_S = 1.0
_PROBE_EVERY_S = 0.5
# Connections kept for reuse; more are made when needed, and closed after use.
_MOST_KEPT = 1000
# Name of the service among the app's extensions.
DOWNSTREAM = "kit_downstream"


class _Downstream:
    """The service, and whether it is worth asking: while it does not answer, a thread of its own finds out when it does again.

    Without the breaker each request finds out for itself, by waiting: a service that hangs soon holds every thread of every
    worker, and requests that have nothing to do with it wait behind.
    """

    def __init__(self, pool: urllib3.PoolManager, url: str | None) -> None:
        self.pool, self.url = pool, url
        self.breaker = Breaker(self._watch)

    def _watch(self) -> None:
        threading.Thread(target=self.breaker.probe, args=(self._answers,), daemon=True).start()

    def _answers(self) -> bool:
        try:
            self.pool.request("GET", f"{self.url}/healthz", timeout=_PROBE_TIMEOUT_S, retries=False)
        except HTTPError:
            time.sleep(_PROBE_EVERY_S)  # a refused connection takes no time
            return False
        return True


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
    service = _downstream(current_app)
    if service.url is None:
        abort(503, "LAB_DOWNSTREAM_URL is not set: there is no service to wait for.")
    if service.breaker.is_open:
        raise _away("The downstream service does not answer at the moment.")
    # `read` bounds the silence before the answer and within it; this service answers in one piece.
    timeout = urllib3.Timeout(connect=_CONNECT_TIMEOUT_S, read=ms / 1000 + _MARGIN_S)
    try:
        # Without retries: a second call would hide that the first one failed.
        answer = service.pool.request("GET", f"{service.url}/wait", fields={"ms": str(ms)}, timeout=timeout, retries=False)
    except ReadTimeoutError:
        service.breaker.failure()
        abort(504, "The downstream service did not answer in time.")
    except HTTPError:
        service.breaker.failure()
        raise _away("The downstream service is not available.") from None
    service.breaker.success()
    if answer.status != HTTPStatus.OK:
        raise _away(f"The downstream service answered {answer.status}.")


def _away(reason: str) -> ServiceUnavailable:
    return ServiceUnavailable(reason, retry_after=RETRY_AFTER_S)


def _downstream(app: Flask) -> _Downstream:
    found: _Downstream = app.extensions[DOWNSTREAM]
    return found


def has_downstream(app: Flask) -> bool:
    """Say whether there is a service to wait for."""
    return _downstream(app).url is not None


def _url(app: Flask) -> str | None:
    given = app.config.get("LAB_DOWNSTREAM_URL") or os.environ.get("LAB_DOWNSTREAM_URL")
    try:
        return str(TypeAdapter(HttpUrl).validate_python(given)).rstrip("/") if given else None
    except ValidationError as error:
        raise SettingsError(f"LAB_DOWNSTREAM_URL: {error.errors()[0]['msg']}") from None


def init_app(app: Flask, settings: Settings) -> None:
    """Give `app` its connections to the downstream service; none is opened yet."""
    pool = urllib3.PoolManager(maxsize=min(settings.worker_concurrency, _MOST_KEPT))
    app.extensions[DOWNSTREAM] = _Downstream(pool, _url(app))
