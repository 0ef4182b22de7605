"""How requests use a Flask-SQLAlchemy database: timed, with a deadline, refused at once while it does not answer."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from flask import Flask, current_app
from sqlalchemy import text
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session, scoped_session

from kit_flask.breaker import Breaker
from kit_flask.deadline import BreakerOpenError, DeadlineError, deadline
from kit_flask.record import current_record

_logger = logging.getLogger(__name__)
# Names of the app's breaker and of its engine for reading among its extensions, and of the thread that asks while the breaker is open.
BREAKER, READS, PROBE = "database_breaker", "database_reads", "database-probe"


@contextmanager
def session_scope(*, reads: bool = False, probes: bool = False) -> Iterator[Session]:
    """Use the database; rolled back when it fails. sqlalchemy.exc.OperationalError when it does not answer in time, or is not asked.

    `reads`: one statement without a transaction: one round trip in place of three, and its connection goes back at once. (Not inside
    another session_scope: the pool has one connection for each thread.)
    """
    started = connected = time.perf_counter()
    try:
        with deadline(current_app.extensions[BREAKER], probes=probes):
            if reads:
                with Session(current_app.extensions[READS]) as session:
                    session.connection()
                    connected = time.perf_counter()
                    yield session
                return
            session = current_app.extensions["sqlalchemy"].session
            try:
                session.connection()
                connected = time.perf_counter()
                yield session()
            except BaseException:
                session.rollback()
                raise
    except BreakerOpenError as refused:
        raise OperationalError(None, None, refused) from None
    finally:
        if record := current_record():
            record.add_database_time(time.perf_counter() - started, connected - started)


def ping(*, probes: bool = False) -> None:
    """Ask the database for an answer; raises sqlalchemy.exc.SQLAlchemyError when it gives none."""
    with session_scope(reads=True, probes=probes) as session:
        session.execute(text("SELECT 1"))


def end_transaction(session: scoped_session[Session], breaker: Breaker) -> None:
    """Roll back what a request has read, with a deadline; Flask-SQLAlchemy's own attempt would wait for a frozen database."""
    if not session.registry.has():  # this request did not use it
        return
    try:
        with deadline(breaker, probes=True):
            session.remove()
    except SQLAlchemyError as error:
        # The answer is there and stays right; the connection is closed, so nothing waits for it later.
        _logger.warning("a transaction could not be ended: %s", error)


def _answers(app: Flask) -> bool:
    """Say whether anything comes from the database; that it refuses us is an answer too."""
    try:
        with app.app_context():
            ping(probes=True)
    except SQLAlchemyError as error:
        return not isinstance(getattr(error, "orig", None), DeadlineError)
    return True


def _probe(app: Flask) -> None:
    _logger.warning("circuit breaker open: the database does not answer, requests that need it get 503 at once")
    app.extensions[BREAKER].probe(lambda: _answers(app))
    _logger.warning("circuit breaker closed: the database answers again")


def init_app(app: Flask) -> None:
    """Give `app` its breaker. After the database: of what is registered for the end of a request, the last runs first."""
    app.extensions[BREAKER] = Breaker(lambda: threading.Thread(target=_probe, args=(app,), name=PROBE, daemon=True).start())
    with app.app_context():
        app.extensions[READS] = app.extensions["sqlalchemy"].engine.execution_options(isolation_level="AUTOCOMMIT")
    app.teardown_appcontext(lambda _error: end_transaction(app.extensions["sqlalchemy"].session, app.extensions[BREAKER]))
