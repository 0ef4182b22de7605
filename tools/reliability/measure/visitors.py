"""Visitors that are strict: nothing is ever repeated. Each request has a connection of its own, or a visitor keeps one for all of them.

Locust's own client sends a GET again when its connection breaks, which would hide the very failures that are counted here.
The schedule, the bound and the clock are the load test's (loadtest.measure.open_model).
"""

import html
import http.client
import itertools
import json
import re
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from http import HTTPStatus
from typing import Any, ClassVar, NamedTuple
from urllib.parse import urlencode, urlsplit

from locust import FastHttpUser, task
from locust.env import Environment

from loadtest.measure.client import is_quiet
from tools.reliability.records import Write

# Longer than the gateway waits for the app (35 s): a request fails because the server says so.
PATIENCE_S = 40.0
CONNECT_S = 1.0  # then the next address is tried, where there is one
_OLDER = re.compile(r'<a rel="next" href="([^"]+)"')
_TOKEN = re.compile(r'name="csrf_token"[^>]*value="([^"]+)"')


class _Answer(NamedTuple):
    status_code: int
    text: str
    cookie: str = ""  # name=value of the session that it set
    error: str = ""


class Strict(FastHttpUser):
    """A visitor whose requests end in an answer or in an error, counted either way.

    `host` may be several URLs with blanks between them: of gateways that serve the same site.
    """

    abstract = True
    host = "http://127.0.0.1:8080"
    keep_alive: ClassVar[bool] = False
    turns: ClassVar[Iterator[int]] = itertools.count()

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self._addresses = [(parts.hostname or "", parts.port or 80) for parts in map(urlsplit, (self.host or "").split())]
        self._connection = http.client.HTTPConnection(*self._addresses[0], timeout=PATIENCE_S)
        self._connection._create_connection = self._open  # type: ignore[attr-defined] # noqa: SLF001 - http.client has no other way

    def _open(self, _address: tuple[str, int], patience_s: float, *_how: object) -> socket.socket:
        """Connect to the addresses in turn; to the next one where that fails, as a browser does: nothing was sent by then."""
        first = next(self.turns) % len(self._addresses)
        *tried, last = self._addresses[first:] + self._addresses[:first]
        for address in tried:
            with suppress(OSError):
                connection = socket.create_connection(address, CONNECT_S)
                connection.settimeout(patience_s)
                return connection
        return socket.create_connection(last, patience_s)

    def _connect(self) -> None:
        """Take a new connection where none is kept, or the gateway has closed the idle one: on that nothing can be sent at all."""
        if not self.keep_alive or (self._connection.sock and not is_quiet(self._connection.sock)):
            self._connection.close()

    def ask(self, method: str, path: str, name: str, *, status: int = HTTPStatus.OK, body: bytes | None = None, **headers: str) -> _Answer:
        """Send one request and report it; the status is 0 when there was no answer."""
        context = self.context()
        started_s = time.perf_counter()
        answer = _Answer(0, "")
        error: Exception | None = None
        connection = self._connection
        self._connect()
        fields = {"Host": "localhost", "Connection": "keep-alive" if self.keep_alive else "close", **headers}
        try:
            connection.request(method, path, body, fields)
            received = connection.getresponse()
            cookie = (received.getheader("Set-Cookie") or "").partition(";")[0]
            answer = _Answer(received.status, received.read().decode(errors="replace"), cookie)
            if answer.status_code != status:
                error = http.client.HTTPException(f"status {answer.status_code} instead of {status}")
        except (OSError, http.client.HTTPException) as failure:
            error, answer = failure, _Answer(0, "")  # half an answer is none
            connection.close()
        self.environment.events.request.fire(
            request_type=method,
            name=name,
            response_time=(time.perf_counter() - started_s) * 1e3,
            response_length=len(answer.text),
            exception=error,
            context=context,
            response=answer,
        )
        return answer if error is None else answer._replace(error=f"{type(error).__name__}: {error}")


class Reader(Strict):
    """Reads what needs the database."""

    @task
    def read(self) -> None:
        self.ask("GET", "/api/entries?limit=5", "GET")


class Writer(Strict):
    """Writes an entry with a key of its own, which is also its text: the ledger finds both in the database."""

    name: ClassVar[str] = "ledger"
    ledger: ClassVar[list[Write]] = []

    @task
    def write(self) -> None:
        key = uuid.uuid4().hex
        body = json.dumps({"name": self.name, "message": key}).encode()
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        answer = self.ask("POST", "/api/entries", "POST", status=HTTPStatus.CREATED, body=body, **headers)
        self.ledger.append(Write(key, answer.status_code, answer.error))


class Static(Strict):
    """Reads what needs no database: it goes on while the database is away."""

    @task
    def read(self) -> None:
        """GET /healthz, answered by a gunicorn worker."""
        self.ask("GET", "/healthz", "GET without database")


class Caller(Strict):
    """Reads what another service has to answer first: only a stack with LAB_ENABLED=1 has that."""

    @task
    def read(self) -> None:
        """GET /lab/wait, which calls the slow service."""
        self.ask("GET", "/lab/wait?ms=50", "GET downstream")


class Guest(Strict):
    """A browser: opens the guestbook, pages on, and signs it through the form."""

    @task
    def visit(self) -> None:
        """GET /, its older page, POST /entries. What follows an answer that failed is left out."""
        first = self.ask("GET", "/", "GET page")
        if older := _OLDER.search(first.text):
            self.ask("GET", html.unescape(older[1]), "GET older page", Cookie=first.cookie)
        if token := _TOKEN.search(first.text):
            key = uuid.uuid4().hex
            body = urlencode({"csrf_token": html.unescape(token[1]), "name": Writer.name, "message": key}).encode()
            headers = {"Content-Type": "application/x-www-form-urlencoded", "Cookie": first.cookie}
            answer = self.ask("POST", "/entries", "POST form", status=HTTPStatus.SEE_OTHER, body=body, **headers)
            Writer.ledger.append(Write(key, answer.status_code, answer.error))


KINDS: dict[str, Any] = {"reader": Reader, "writer": Writer, "static": Static, "caller": Caller, "guest": Guest}
