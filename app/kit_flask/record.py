"""One record for each request: its id, its times, its log line, and the header fields that tell them to the client."""

import logging
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Flask, got_request_exception
from werkzeug.wsgi import ClosingIterator

from kit_flask.logs import log, request_id

_logger = logging.getLogger("request")
_record: ContextVar["RequestRecord | None"] = ContextVar("request_record", default=None)
current_record = _record.get  # of the request that is being answered; None outside of requests

_WELL_FORMED_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")  # as in nginx; any other is replaced: it is written to logs and pages
_SECONDS = re.compile(r"\d{1,12}(\.\d{1,9})?")
_LONGEST_QUEUE_S = 3600.0  # a longer wait in front of the app is a clock that is off


@dataclass(slots=True)
class RequestRecord:
    """What is known of one request. All times are in seconds, None where nothing in front of the app said them."""

    request_id: str
    gateway_s: float | None = None
    queue_s: float | None = None  # from the gateway to here
    inspected: bool = False  # by the firewall; its time is part of queue_s, as nginx's clock stands still meanwhile
    database_s: float = 0.0
    database_after_s: float = 0.0  # when it was asked first
    started: float = field(default_factory=time.perf_counter)
    status: int = 500
    bytes: int = 0
    complete: bool = False
    error: str | None = None

    @classmethod
    def begin(cls, environ: WSGIEnvironment) -> "RequestRecord":
        """Start the clock, and take over what nginx said."""
        given_id = environ.get("HTTP_X_REQUEST_ID", "")
        record = cls(given_id if _WELL_FORMED_ID.fullmatch(given_id) else uuid.uuid4().hex)
        record.gateway_s, record.inspected = _seconds(environ.get("HTTP_X_GATEWAY_TIME", "")), "HTTP_X_WAF_TIME" in environ
        left_gateway = _seconds(environ.get("HTTP_X_REQUEST_START", "").removeprefix("t="))
        if left_gateway is not None and (queue_s := time.time() - left_gateway) < _LONGEST_QUEUE_S:
            record.queue_s = max(0.0, queue_s)
        return record

    @property
    def elapsed_s(self) -> float:
        """Time since the app got the request."""
        return time.perf_counter() - self.started

    def add_database_time(self, seconds: float) -> None:
        """Count time in the database that has just ended."""
        self.database_after_s = self.database_after_s or self.elapsed_s - seconds
        self.database_s += seconds

    def headers(self) -> list[tuple[str, str]]:
        """Tell the client; the stages are in the order in which the request met them, and one that was not reported is left out."""
        reported = [("nginx", self.gateway_s), ("queue", self.queue_s), ("app", self.elapsed_s - self.database_s), ("db", self.database_s)]
        stages = [f"{name};dur={seconds * 1000:.1f}" for name, seconds in reported if seconds is not None]
        return [("X-Request-ID", self.request_id), ("Server-Timing", ", ".join(stages))]


def _seconds(text: str) -> float | None:
    return float(text) if _SECONDS.fullmatch(text) else None


class Recorder:
    """WSGI middleware, outermost. A hook would be too early: a streamed answer ends long after the last one."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        record = RequestRecord.begin(environ)
        _record.set(record)
        request_id.set(record.request_id)

        def start(status: str, headers: list[tuple[str, str]], *rest: object) -> Callable[[bytes], object]:
            record.status = int(status[:3])
            return start_response(status, [*headers, *record.headers()], *rest)  # type: ignore[arg-type]

        try:
            body = self._app(environ, start)
            # The server closes it at the end, also when the client went away.
            return ClosingIterator(_follow(record, body), [getattr(body, "close", lambda: None), lambda: _end(record, environ)])
        except BaseException:
            _end(record, environ)
            raise


def _follow(record: RequestRecord, body: Iterable[bytes]) -> Iterator[bytes]:
    try:
        for chunk in body:
            record.bytes += len(chunk)
            yield chunk
        record.complete = True
    except Exception as error:
        record.error = repr(error)
        raise


def _end(record: RequestRecord, environ: WSGIEnvironment) -> None:
    fields: dict[str, object] = {
        "method": environ["REQUEST_METHOD"],
        "path": environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8", "replace"),  # no query: it may hold what people typed
        "status": record.status,
        "duration_ms": round(record.elapsed_s * 1000, 1),
        "db_ms": round(record.database_s * 1000, 1),
        "bytes": record.bytes,
        "client": environ.get("REMOTE_ADDR", ""),  # after ProxyFix, which changes the environment in place
        **({"error": record.error} if record.error else {}),
        **({} if record.complete else {"complete": False}),
    }
    log(_logger, "request", fields)
    _record.set(None)  # a thread serves the next request too; lines written in between belong to no request
    request_id.set(None)


def _remember_error(_app: Flask, exception: BaseException, **_: object) -> None:
    if record := current_record():  # Flask logs the traceback; the request's own line says what it died of
        record.error = repr(exception)


def init_app(app: Flask) -> None:
    """Record every request of `app`."""
    app.wsgi_app = Recorder(app.wsgi_app)  # type: ignore[method-assign]
    got_request_exception.connect(_remember_error)
