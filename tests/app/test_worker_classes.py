"""What each of gunicorn's worker classes makes of the same site; tests/worker_classes has what shows through nginx."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from kit_flask.deadline import BREAKER_OPEN
from tests.app.conftest import Serve, site
from tests.app.postgres import Cluster, new_database
from tests.app.server import Server, gunicorn
from tests.clients import wait_until

CLASSES = ["sync", "gthread", "gevent", "tornado"]
REQUESTS = 16


@pytest.fixture(scope="session", params=CLASSES)
def worker_class(request: pytest.FixtureRequest) -> str:
    """One of gunicorn's worker classes."""
    return str(request.param)


@pytest.fixture(scope="session")
def database_url(server_url: str) -> Iterator[str]:
    """URL of a PostgreSQL database with its tables."""
    with new_database(server_url) as url, site({"DATABASE_URL": url}):
        yield url


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, database_url: str, worker_class: str) -> Iterator[Server]:
    """The site with its laboratory in one worker process of this class; all tests of a class share it."""
    settings = {"GUNICORN_WORKER_CLASS": worker_class, "DATABASE_URL": database_url, "LAB_ENABLED": "1"}
    with gunicorn(tmp_path_factory.mktemp("gunicorn"), "--workers", "1", **settings) as running:
        yield running


def at_once(ask: Callable[[int], httpx.Response]) -> list[dict[str, Any]]:
    """Ask REQUESTS times at the same moment, and return the JSON answers."""
    together = threading.Barrier(REQUESTS)

    def ask_together(number: int) -> httpx.Response:
        together.wait()
        return ask(number)

    with ThreadPoolExecutor(REQUESTS) as threads:
        answers = list(threads.map(ask_together, range(REQUESTS)))
    assert {answer.status_code for answer in answers} == {200}
    return [answer.json() for answer in answers]


def test_every_request_is_logged_once_with_its_own_id(server: Server) -> None:
    ids = [f"request-{number:08}" for number in range(REQUESTS)]

    at_once(lambda number: httpx.get(f"{server.url}/lab/context?ms=50", headers={"X-Request-ID": ids[number]}, timeout=60))

    def logged() -> list[dict[str, Any]]:
        return [line for line in server.lines(message="request", status=200) if line["request_id"] in ids]

    wait_until(lambda: len(logged()) >= REQUESTS, "all requests are in the log")
    assert sorted(line["request_id"] for line in logged()) == ids


def test_a_stream_is_logged_when_it_has_ended(server: Server) -> None:
    with httpx.stream("GET", f"{server.url}/lab/stream?chunks=5&interval_ms=50") as answer:
        body = b"".join(answer.iter_bytes())

    [line] = wait_until(lambda: server.lines(message="request", path="/lab/stream"), "the stream is in the log")
    assert (line["bytes"], line["status"]) == (len(body), 200)
    assert line["duration_ms"] >= 200


def test_what_is_to_run_once_in_each_process_does(server: Server) -> None:
    # No other test asks for this page before.
    first, second = (httpx.get(f"{server.url}/lab/lifecycle").json() for _ in range(2))

    assert first["events"].count("first request of this process") == 1
    first["events"].remove("first request of this process")
    assert first["events"] == second["events"]
    assert second["events"][-1] == "wsgi middleware: out"
    assert second["once"] == {"pid": second["pid"], "runs": 1}


@pytest.mark.parametrize("preloaded", ["gthread", "gevent"])
def test_preloading_changes_nothing_of_that(serve: Serve, database_url: str, preloaded: str) -> None:
    server = serve("--preload", "--workers", "2", GUNICORN_WORKER_CLASS=preloaded, DATABASE_URL=database_url, LAB_ENABLED="1")

    answers = at_once(lambda _: httpx.get(f"{server.url}/lab/lifecycle", timeout=60))
    at_once(lambda _: httpx.get(f"{server.url}/lab/db", timeout=60))
    process = httpx.get(f"{server.url}/lab/process").json()

    assert all(answer["once"] == {"pid": answer["pid"], "runs": 1} for answer in answers)
    assert process["worker_class"] == preloaded
    assert process["database_driver"]["cooperative"] == (preloaded == "gevent")


def test_a_worker_finds_out_once_that_its_database_is_frozen(serve: Serve, postgres: Cluster, worker_class: str) -> None:
    """Its twin is in test_database.py: without the breaker each request finds out for itself, and all others wait for it."""
    server = serve("--workers", "1", GUNICORN_WORKER_CLASS=worker_class, DATABASE_URL=postgres.url)

    def ask(_: int = 0) -> int:
        return httpx.get(f"{server.url}/readyz", timeout=60).status_code

    with postgres.frozen():
        assert ask() == 503
        with ThreadPoolExecutor(REQUESTS) as threads:
            assert set(threads.map(ask, range(REQUESTS))) == {503}
        assert httpx.get(f"{server.url}/healthz", timeout=60).status_code == 200

    wait_until(lambda: ask() == 200, "the database is asked again")
    said = [line["message"] for line in server.lines(level="ERROR") if line["message"].startswith("the database is not available")]
    assert BREAKER_OPEN not in said[0]
    assert all(BREAKER_OPEN in line for line in said[1:])
    assert len(said) > REQUESTS
