"""The database: one pool for each worker, and no visit that lasts longer than a client would wait."""

import logging
import sqlite3
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar, cast

import psycopg
from flask import Flask, current_app
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from psycopg.abc import PQGen, PQGenConn
from psycopg.waiting import READY_NONE, READY_R, Ready
from sqlalchemy import event, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Session

from kit_app.breaker import Breaker
from kit_app.record import current_record
from kit_app.settings import Settings

_logger = logging.getLogger(__name__)
_T = TypeVar("_T")
_Wait = TypeVar("_Wait")

# How long a visit may wait for the database, all waits together: connecting, each statement, the commit. Past it the
# answer is 503; without it a request would hold its thread for as long as the database is away or frozen.
SILENCE_S = 1.5
# How long a request may wait for the connection of another one, when more come at once than the pool has connections.
_POOL_WAIT_S = 5.0
# SQLite: how long to wait for another writer before "database is locked".
_SQLITE_BUSY_MS = 1500
# How often a wait is interrupted to look at the clock.
_LOOK_S = 0.1
# What the log says of a request that was refused without asking.
NOT_ASKED = "no answer from the database for those who asked before; it was not asked again"
# Name of the app's breaker among its extensions.
BREAKER = "database_breaker"
# Name of the thread that asks a silent database on behalf of all.
PROBE = "database-probe"


@dataclass(slots=True)
class _Clock:
    """When a visit's patience ends: that runs from its first wait for the database. `probes`: it asks although it may not."""

    breaker: Breaker
    probes: bool
    deadline: float | None = None

    @property
    def refused(self) -> bool:
        return self.breaker.is_open and not self.probes


_clock: ContextVar[_Clock | None] = ContextVar("database_clock", default=None)


class Base(DeclarativeBase):
    """What the models inherit from."""


db = SQLAlchemy(model_class=Base)
migrate = Migrate()


@contextmanager
def visit(*, probes: bool = False) -> Iterator[Session]:
    """A visit to the database: timed for the log, with a deadline, rolled back when it fails.

    While the database is silent only one that `probes` asks it; any other raises sqlalchemy.exc.OperationalError at once.
    What touches the database outside of visits has no deadline: migrations, which may take long. The end of a request has one of its
    own (end_transaction).
    """
    started = time.perf_counter()
    clock = _Clock(current_app.extensions[BREAKER], probes)
    if clock.refused:
        raise OperationalError(None, None, _NotAskedError(NOT_ASKED))
    token = _clock.set(clock)
    try:
        yield db.session()
    except BaseException:
        db.session.rollback()
        raise
    finally:
        _clock.reset(token)
        if record := current_record():
            record.database_s += time.perf_counter() - started


def end_transaction(_error: BaseException | None = None) -> None:
    """Roll back what a visit has read, with a deadline of its own.

    Flask-SQLAlchemy does this at the end of a request, outside of all visits: a database that froze between the last answer and
    this would be waited for as long as it is frozen, with an answer in hand.
    """
    token = _clock.set(_Clock(current_app.extensions[BREAKER], probes=True))
    try:
        db.session.remove()
    except SQLAlchemyError as error:
        # The answer is there and stays right. The connection is closed: what Flask-SQLAlchemy does next meets no more of it.
        _logger.warning("a transaction could not be ended: %s", error)
    finally:
        _clock.reset(token)


def ping(*, probes: bool = False) -> None:
    """Ask the database for an answer; raises sqlalchemy.exc.SQLAlchemyError when it gives none."""
    with visit(probes=probes) as session:
        session.execute(text("SELECT 1"))


def _answers(app: Flask) -> bool:
    """Say whether anything comes from the database; that it refuses us is an answer too."""
    try:
        with app.app_context():
            ping(probes=True)
    except SQLAlchemyError as error:
        return not isinstance(getattr(error, "orig", None), _SilenceError)
    return True


def _probe(app: Flask) -> None:
    _logger.warning("the database is silent: requests that need it are answered with 503 at once until it is heard")
    app.extensions[BREAKER].probe(lambda: _answers(app))
    _logger.warning("the database was heard: requests ask it again")


class _Connection(psycopg.Connection[Any]):
    """A connection whose every wait ends at the visit's deadline.

    A server-side statement_timeout does not help when the server is frozen, TCP timeouts do not when its kernel
    still acknowledges, and libpq's connect_timeout is at least 2 s.
    """

    @classmethod
    def _connect_gen(cls, conninfo: str = "") -> PQGenConn[Self]:
        clock = _clock.get()
        if clock and clock.refused:
            # It stood in line for a connection while those in front found out. Trying again, one after the other,
            # would make the last in line wait for many times the deadline.
            raise _NotAskedError(NOT_ASKED)
        return _until_deadline(super()._connect_gen(conninfo))

    def wait(self, gen: PQGen[_T], interval: float = _LOOK_S, timeout: float | None = None) -> _T:
        try:
            return super().wait(_until_deadline(gen), interval, timeout)
        except _SilenceError:
            # An answer may still come: the connection cannot be used again, and the pool learns it by this.
            self.pgconn.finish()
            raise


class _SilenceError(psycopg.OperationalError):
    pass


class _NotAskedError(psycopg.OperationalError):
    pass


def _until_deadline(waits: Generator[_Wait, Ready | int, _T]) -> Generator[_Wait, Ready | int, _T]:
    """Pass psycopg's requests to wait on. It resumes them every _LOOK_S at least: then we look at the clock.

    Only a wait in which nothing arrived counts, and the second such: when this process is short of CPU time, an
    answer may lie there unread, and that is no fault of the database.
    """
    clock = _clock.get()
    if clock and clock.deadline is None:
        clock.deadline = time.monotonic() + SILENCE_S
    overdue = False
    try:
        wait = next(waits)
        while True:
            ready = yield wait
            if clock and ready & READY_R:
                clock.breaker.heard()
            if clock and clock.deadline and ready == READY_NONE and time.monotonic() > clock.deadline:
                if overdue:
                    clock.breaker.silent()
                    raise _SilenceError(f"no answer from the database within {SILENCE_S} s")
                overdue = True
            wait = waits.send(ready)
    except StopIteration as end:
        return cast(_T, end.value)


def _engine_options(url: URL, pool_size: int) -> dict[str, Any]:
    options: dict[str, Any] = {
        "pool_size": pool_size,
        # The pool is a bound: replicas x workers x pool is what the database must be able to hold.
        "max_overflow": 0,
        "pool_timeout": _POOL_WAIT_S,
        # Without the check the first requests after a database restart fail, one for each pooled connection.
        "pool_pre_ping": True,
    }
    if url.get_backend_name() == "sqlite":
        options["connect_args"] = {"timeout": _SQLITE_BUSY_MS / 1000}
    else:
        options["connect_args"] = {
            "application_name": "kit_app",
            # The server stops working for a client that no longer waits.
            "options": f"-c statement_timeout={int(SILENCE_S * 1000)}",
            # An idle pooled connection to a host that vanished is noticed, and not only by the next request.
            "tcp_user_timeout": int(SILENCE_S * 1000),
            "keepalives_idle": 30,
        }
    return options


def _set_up_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA journal_mode = WAL")  # readers and the one writer do not block each other
    connection.execute("PRAGMA synchronous = NORMAL")  # safe with WAL: a power cut may lose the last commits, no more
    connection.execute("PRAGMA foreign_keys = ON")  # off by default, per connection


def _connect_postgresql(_dialect: object, _record: object, args: Sequence[str], kwargs: dict[str, Any]) -> psycopg.Connection[Any]:
    return _Connection.connect(*args, **kwargs)


def init_app(app: Flask, settings: Settings) -> None:
    """Give `app` its database. Nothing connects before the first request, so gunicorn may fork after this."""
    url = settings.database(Path(app.instance_path))
    app.config["SQLALCHEMY_DATABASE_URI"] = url
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = _engine_options(url, settings.pool_size)
    app.extensions[BREAKER] = Breaker(lambda: threading.Thread(target=_probe, args=(app,), name=PROBE, daemon=True).start())
    db.init_app(app)
    app.teardown_appcontext(end_transaction)  # of those registered, the last runs first
    migrate.init_app(app, db, directory=str(Path(app.root_path).parent / "migrations"))
    with app.app_context():
        if url.get_backend_name() == "sqlite":
            event.listen(db.engine, "connect", _set_up_sqlite)
        else:
            event.listen(db.engine, "do_connect", _connect_postgresql)
    if settings.pool_size < settings.wanted_pool_size:
        _logger.warning(
            "the database pool is smaller than the number of threads: some will wait for a connection",
            extra={"pool_size": settings.pool_size, "worker_concurrency": settings.worker_concurrency},
        )
