"""One record for each request: its id, its times, its log line, and the headers that tell them to the client."""

import logging
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flask import Flask, Response, got_request_exception

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_logger = logging.getLogger("kit_app.request")
_record: ContextVar["RequestRecord | None"] = ContextVar("request_record", default=None)

# What nginx passes on too. Anything else is replaced: the id is written to logs and pages.
_WELL_FORMED_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")
_SECONDS = re.compile(r"\d{1,12}(\.\d{1,9})?")
# A longer wait than this in front of the app is a clock that is off, not a queue.
_LONGEST_QUEUE_S = 3600.0


def current_record() -> "RequestRecord | None":
    """The record of the request that is being answered; None outside of requests."""
    return _record.get()


@dataclass(slots=True)
class RequestRecord:
    """What is known of one request. All times are in seconds."""

    request_id: str
    gateway_s: float | None = None
    queue_s: float | None = None
    database_s: float = 0.0
    error: str | None = None
    started: float = field(default_factory=time.perf_counter)

    @classmethod
    def begin(cls, environ: "WSGIEnvironment") -> "RequestRecord":
        """Start the clock, and take over what the gateway said."""
        given_id = environ.get("HTTP_X_REQUEST_ID", "")
        queued = _seconds(environ.get("HTTP_X_REQUEST_START", "").removeprefix("t="))
        queue_s = None if queued is None else max(0.0, time.time() - queued)
        return cls(
            request_id=given_id if _WELL_FORMED_ID.fullmatch(given_id) else uuid.uuid4().hex,
            gateway_s=_seconds(environ.get("HTTP_X_GATEWAY_TIME", "")),
            queue_s=None if queue_s is None or queue_s > _LONGEST_QUEUE_S else queue_s,
        )

    @property
    def elapsed_s(self) -> float:
        """Time since the app got the request."""
        return time.perf_counter() - self.started

    def stages(self) -> list[tuple[str, float]]:
        """(stage, milliseconds) in the order in which the request met them; a stage nobody reported is left out."""
        own_s = self.elapsed_s - self.database_s
        times = {"nginx": self.gateway_s, "queue": self.queue_s, "app": own_s, "db": self.database_s}
        return [(name, round(seconds * 1000, 1)) for name, seconds in times.items() if seconds is not None]


def _seconds(text: str) -> float | None:
    return float(text) if _SECONDS.fullmatch(text) else None


class Recorder:
    """WSGI middleware, outermost: the record lives from the first byte in to the last byte out.

    It is a middleware and no hook because a streamed answer ends long after the last hook has run, and because
    tornado's worker writes no access log of its own.
    """

    def __init__(self, app: "WSGIApplication") -> None:
        self._app = app

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        answer = _Answer(environ, RequestRecord.begin(environ))
        _record.set(answer.record)

        def remember(status: str, headers: list[tuple[str, str]], *rest: object) -> Callable[[bytes], object]:
            answer.status = int(status[:3])
            return start_response(status, headers, *rest)  # type: ignore[arg-type]

        try:
            return answer.carry(self._app(environ, remember))
        except BaseException:
            answer.close()
            raise


class _Answer:
    """The answer's body on its way out; closing it writes the log line."""

    def __init__(self, environ: "WSGIEnvironment", record: RequestRecord) -> None:
        self.record = record
        self.status = 500
        self._environ = environ
        self._body: Iterable[bytes] = ()
        self._chunks: Iterator[bytes] = iter(())
        self._bytes = 0
        self._complete = False

    def carry(self, body: Iterable[bytes]) -> "_Answer":
        self._body, self._chunks = body, iter(body)
        return self

    def __iter__(self) -> "_Answer":
        return self

    def __next__(self) -> bytes:
        try:
            chunk = next(self._chunks)
        except StopIteration:
            self._complete = True
            raise
        except Exception as error:
            self.record.error = repr(error)
            raise
        self._bytes += len(chunk)
        return chunk

    def close(self) -> None:
        """The server calls this at the end, also when the client went away."""
        try:
            if close := getattr(self._body, "close", None):
                close()
        finally:
            self._log()
            # A thread serves the next request too; lines written in between belong to no request.
            _record.set(None)

    def _log(self) -> None:
        fields = {
            "method": self._environ["REQUEST_METHOD"],
            # Without the query string, which may hold what people typed.
            "path": self._environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8", "replace"),
            "status": self.status,
            "duration_ms": round(self.record.elapsed_s * 1000, 1),
            "db_ms": round(self.record.database_s * 1000, 1),
            "bytes": self._bytes,
            # After ProxyFix, which changes the environment in place: the client, not the gateway.
            "client": self._environ.get("REMOTE_ADDR", ""),
        }
        if self.record.error:
            fields["error"] = self.record.error
        if not self._complete:
            fields["complete"] = False
        _logger.info("request", extra=fields)


def _tell_client(response: Response) -> Response:
    if record := current_record():
        response.headers["X-Request-ID"] = record.request_id
        response.headers["Server-Timing"] = ", ".join(f"{name};dur={ms}" for name, ms in record.stages())
    return response


def _remember_error(_app: Flask, exception: BaseException, **_: object) -> None:
    # The traceback is logged by Flask; this makes the request's own line say what it died of.
    if record := current_record():
        record.error = repr(exception)


def init_app(app: Flask) -> None:
    """Record every request of `app`."""
    app.wsgi_app = Recorder(app.wsgi_app)  # type: ignore[method-assign]
    app.after_request(_tell_client)
    got_request_exception.connect(_remember_error, app)
