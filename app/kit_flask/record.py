"""One record for each request: its id, its times, its log line, and the header fields that tell them to the client."""

import logging
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from wsgiref.types import StartResponse, WSGIEnvironment

from flask import Flask, got_request_exception

from kit_flask.logs import log, request_id

_logger = logging.getLogger("request")
_record: ContextVar["RequestRecord | None"] = ContextVar("request_record", default=None)
current_record = _record.get  # of the request that is being answered; None outside of requests

_WELL_FORMED_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")  # as in nginx; any other is replaced: it is written to logs and pages
_SECONDS = re.compile(r"\d{1,12}(\.\d{1,9})?")
_LONGEST_QUEUE_S = 3600.0  # a longer wait in front of the app is a clock that is off


@dataclass(slots=True)
class RequestRecord:
    """What is known of one request, and its answer, followed to the end. Times are in seconds, None where nothing in front said them."""

    environ: WSGIEnvironment
    start_response: StartResponse
    request_id: str
    defaults: dict[str, tuple[str, str]]  # header fields, for those that the answer has not
    body: Iterable[bytes] = ()
    gateway_s: float | None = None
    queue_s: float | None = None  # from the gateway to here
    inspected: bool = False  # by the firewall; its time is part of queue_s, as nginx's clock stands still meanwhile
    database_s: float = 0.0
    pool_s: float = 0.0  # of it, until the pool had a connection
    database_after_s: float = 0.0  # when it was asked first
    started: float = field(default_factory=time.perf_counter)
    status: int = 500
    sent_bytes: int = 0
    complete: bool = False
    error: str | None = None

    @classmethod
    def begin(cls, environ: WSGIEnvironment, start_response: StartResponse, defaults: dict[str, tuple[str, str]]) -> "RequestRecord":
        """Start the clock, and take over what nginx said."""
        given_id = environ.get("HTTP_X_REQUEST_ID", "")
        record = cls(environ, start_response, given_id if _WELL_FORMED_ID.fullmatch(given_id) else uuid.uuid4().hex, defaults)
        record.gateway_s, record.inspected = _seconds(environ.get("HTTP_X_GATEWAY_TIME", "")), "HTTP_X_WAF_TIME" in environ
        left_gateway = _seconds(environ.get("HTTP_X_REQUEST_START", "").removeprefix("t="))
        if left_gateway is not None and (queue_s := time.time() - left_gateway) < _LONGEST_QUEUE_S:
            record.queue_s = max(0.0, queue_s)
        return record

    @property
    def elapsed_s(self) -> float:
        """Time since the app got the request."""
        return time.perf_counter() - self.started

    def add_database_time(self, seconds: float, pool_s: float) -> None:
        """Count time in the database that has just ended, and how much of it the pool had no connection."""
        self.pool_s += pool_s
        self.database_after_s = self.database_after_s or self.elapsed_s - seconds
        self.database_s += seconds

    def start(self, status: str, headers: list[tuple[str, str]], *rest: object) -> Callable[[bytes], object]:
        """Tell the client too; the stages are in the order in which the request met them, and one that was not reported is left out."""
        self.status = int(status[:3])
        app_ms, pool_ms, database_ms = (self.elapsed_s - self.database_s) * 1000, self.pool_s * 1000, (self.database_s - self.pool_s) * 1000
        stages = f"app;dur={app_ms:.1f}, pool;dur={pool_ms:.1f}, db;dur={database_ms:.1f}"
        for name, seconds in (("queue", self.queue_s), ("nginx", self.gateway_s)):
            if seconds is not None:
                stages = f"{name};dur={seconds * 1000:.1f}, {stages}"
        for name, _ in headers:
            self.defaults.pop(name.lower(), None)
        headers = [*headers, *self.defaults.values(), ("X-Request-ID", self.request_id), ("Server-Timing", stages)]
        return self.start_response(status, headers, *rest)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[bytes]:
        try:
            for chunk in self.body:
                self.sent_bytes += len(chunk)
                yield chunk
            self.complete = True
        except Exception as error:
            self.error = repr(error)
            raise

    def close(self) -> None:
        """Log it; the server calls this at the end, also when the client went away."""
        try:
            getattr(self.body, "close", lambda: None)()
        finally:
            fields: dict[str, object] = {
                "method": self.environ["REQUEST_METHOD"],
                "path": self.environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8", "replace"),  # no query: people typed it
                "status": self.status,
                "duration_ms": round(self.elapsed_s * 1000, 1),
                "db_ms": round(self.database_s * 1000, 1),
                "bytes": self.sent_bytes,
                "client": self.environ.get("REMOTE_ADDR", ""),  # after ProxyFix, which changes the environment in place
                **({"error": self.error} if self.error else {}),
                **({} if self.complete else {"complete": False}),
            }
            log(_logger, "request", fields)
            _record.set(None)  # a thread serves the next request too; lines written in between belong to no request
            request_id.set(None)


def _seconds(text: str) -> float | None:
    return float(text) if _SECONDS.fullmatch(text) else None


def _remember_error(_app: Flask, exception: BaseException, **_: object) -> None:
    if record := current_record():  # Flask logs the traceback; the request's own line says what it died of
        record.error = repr(exception)


def init_app(app: Flask, headers: Mapping[str, str] | None = None) -> None:
    """Record every request of `app`, as outermost middleware: a stream ends long after the last hook. `headers`: where a view has none."""
    inner, defaults = app.wsgi_app, {name.lower(): (name, value) for name, value in (headers or {}).items()}

    def recorder(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        record = RequestRecord.begin(environ, start_response, defaults.copy())
        _record.set(record)
        request_id.set(record.request_id)
        try:
            record.body = inner(environ, record.start)
        except BaseException:
            record.close()
            raise
        return record

    app.wsgi_app = recorder  # type: ignore[method-assign]
    got_request_exception.connect(_remember_error)
