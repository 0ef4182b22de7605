"""A site on SQLite and on PostgreSQL, both real; each test gets an empty database."""

import os
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from kit_app import create_app
from kit_app.database import db
from kit_flask.sessions import PROBE
from tests.app.postgres import Cluster, cluster, new_database
from tests.app.server import SECRET, Server, gunicorn

MakeApp = Callable[..., Flask]
PROBE_S = 5  # where the database stays away, it goes on asking
Serve = Callable[..., Server]


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A PostgreSQL server that tests may stop and freeze."""
    try:
        with cluster() as server:
            yield server
    except RuntimeError as missing:
        pytest.fail(str(missing), pytrace=False)


@pytest.fixture(scope="session")
def server_url(request: pytest.FixtureRequest) -> str:
    """URL of a PostgreSQL server on which databases can be made: TEST_DATABASE_URL, or one of our own."""
    return os.environ.get("TEST_DATABASE_URL") or str(request.getfixturevalue("postgres").url)


@pytest.fixture
def postgres_url(server_url: str) -> Iterator[str]:
    """URL of an empty PostgreSQL database."""
    with new_database(server_url) as url:
        yield url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """URL of an empty SQLite database."""
    return f"sqlite:///{tmp_path}/guestbook.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """URL of an empty database: the test runs once with each kind."""
    kind = {"sqlite": "sqlite_url", "postgresql": "postgres_url"}[request.param]
    return str(request.getfixturevalue(kind))


@pytest.fixture
def make_app(sqlite_url: str) -> Iterator[MakeApp]:
    """Make an app with more settings; its database is SQLite and has its tables."""
    with ExitStack() as stack:

        def make(**settings: object) -> Flask:
            return stack.enter_context(site({"DATABASE_URL": sqlite_url, **settings}))

        yield make


@contextmanager
def site(settings: Mapping[str, object], *, tables: bool = True) -> Iterator[Flask]:
    """Make an app, and its tables straight from the models: faster than the migrations, which have tests of their own."""
    app = create_app({"SECRET_KEY": SECRET, **settings})
    with app.app_context():
        if tables:
            db.create_all()
    try:
        yield app
    finally:
        # Who asks again whether the database is there has a connection of its own for a moment after the others may go on.
        for probe in [thread for thread in threading.enumerate() if thread.name == PROBE]:
            probe.join(PROBE_S)
        with app.app_context():
            db.engine.dispose()


@pytest.fixture
def app(make_app: MakeApp, database_url: str) -> Flask:
    """An app; the test runs once with each kind of database."""
    return make_app(DATABASE_URL=database_url)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A client of the app, on each kind of database."""
    return app.test_client()


@pytest.fixture
def lite(make_app: MakeApp) -> FlaskClient:
    """A client of an app on SQLite, for what has nothing to do with the kind of database."""
    return make_app().test_client()


@pytest.fixture
def lab(make_app: MakeApp) -> FlaskClient:
    """A client of an app with its laboratory open."""
    return make_app(LAB_ENABLED=True).test_client()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start gunicorns; each gets its own folder, and all stop with the test."""
    with ExitStack() as stack:

        def start(*arguments: str, **settings: str) -> Server:
            folder = tmp_path / f"gunicorn-{uuid.uuid4().hex[:8]}"
            folder.mkdir()
            running: AbstractContextManager[Server] = gunicorn(folder, *arguments, **settings)
            return stack.enter_context(running)

        yield start
