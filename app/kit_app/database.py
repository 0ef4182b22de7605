"""The database: one bounded pool of connections for each worker."""

import logging
import select
import sqlite3
from pathlib import Path
from typing import Any

from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import event
from sqlalchemy.orm import DeclarativeBase

from kit_app.settings import Settings
from kit_flask.deadline import DEADLINE_S, Connection

_logger = logging.getLogger(__name__)
# A pool has a connection for each thread, up to 32. More are greenlets, which share 8, as gevent's 1000 would exhaust PostgreSQL's 100:
# 3 replicas x 2 workers x 8 = 48 connections, and 5 replicas still fit.
_MOST_THREADS, _GREENLETS_SHARE = 32, 8


class Base(DeclarativeBase):
    """What the models inherit from."""


db = SQLAlchemy(model_class=Base)
migrate = Migrate()


def _set_up_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA journal_mode = WAL")  # readers and the one writer do not block each other
    connection.execute("PRAGMA synchronous = NORMAL")  # safe with WAL: a power cut may lose the last commits, no more
    connection.execute("PRAGMA foreign_keys = ON")  # off by default, per connection


def _is_open(connection: Any) -> bool:
    if not hasattr(select, "poll"):  # eventlet takes it away; its select() has no limit of 1,024 files
        return not select.select([connection], [], [], 0)[0]
    (poll := select.poll()).register(connection, select.POLLIN)
    return not poll.poll(0)  # a server says nothing on its own but goodbye


def init_app(app: Flask, settings: Settings) -> None:
    """Give `app` its database. Nothing connects before the first request, so gunicorn may fork after this."""
    wanted = settings.worker_concurrency if settings.worker_concurrency <= _MOST_THREADS else _GREENLETS_SHARE
    size = settings.database_pool_size or wanted
    sqlite = settings.database.drivername == "sqlite"
    options = {
        "pool_size": size,
        "pool_pre_ping": not sqlite,  # else the first requests after a restart of the database fail
        "max_overflow": 0,  # the pool is a bound: replicas x workers x pool is what the database must be able to hold
        "pool_timeout": 5.0,  # seconds to wait for a connection when more requests come at once than the pool has
        "connect_args": {
            "application_name": "kit_app",
            "options": f"-c statement_timeout={int(DEADLINE_S * 1000)}",  # the server stops working for a client that no longer waits
            "tcp_user_timeout": int(DEADLINE_S * 1000),  # an idle connection to a host that vanished is noticed
            "keepalives_idle": 30,
        },
    }
    if sqlite:
        options["connect_args"] = {"timeout": DEADLINE_S}  # for another writer, before "database is locked"
    app.config.update(SQLALCHEMY_DATABASE_URI=settings.database, SQLALCHEMY_ENGINE_OPTIONS=options)
    db.init_app(app)
    migrate.init_app(app, db, directory=str(Path(app.root_path).parent / "migrations"))
    with app.app_context():
        listener = ("connect", _set_up_sqlite) if sqlite else ("do_connect", lambda _, __, args, kw: Connection.connect(*args, **kw))
        event.listen(db.engine, *listener)
        db.engine.dialect.do_ping = _is_open  # type: ignore[assignment,method-assign]  # by default a round trip for each request
    if size < wanted:
        _logger.warning("the database pool is smaller than the number of threads: some will wait", extra={"pool_size": size})
