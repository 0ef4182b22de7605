"""How many idle workers the kernel wakes for one connection; uWSGI's figures in docs/wakeups.md come from wakeups.py alone."""

import socket
import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.clients import wait_until
from tests.gunicorn_conf.process import PATIENCE_S, Start
from tests.gunicorn_conf.test_processes import slow_request
from tests.wsgi.test_workers import GET, LISTENING
from tests.wsgi.wakeups import running

WORKERS, CONNECTIONS, CLIENTS = 4, 15, 20


@pytest.mark.parametrize(
    ("server", "woken"),
    [
        ("accept() alone", 1),
        ("epoll", WORKERS),
        ("epoll, EPOLLEXCLUSIVE", 1),
        ("gunicorn sync", WORKERS),
        ("gunicorn gthread", WORKERS),
        ("gunicorn gevent", WORKERS),
        ("gunicorn gthread, --reuse-port", 1),
    ],
)
def test_so_many_workers_wake_for_one_connection(server: str, woken: int) -> None:
    with running(server, WORKERS) as workers:
        found = workers.measure(CONNECTIONS)

    assert statistics.median(found.woken) == woken


@pytest.mark.parametrize("arguments", [[], ["--reuse-port"]])
def test_only_with_a_socket_for_each_worker_connections_wait_for_a_busy_one(start: Start, tmp_path: Path, arguments: Sequence[str]) -> None:
    gunicorn = start({"GUNICORN_WORKER_CLASS": "sync", "WEB_CONCURRENCY": "2"}, arguments=arguments)
    with slow_request(gunicorn, tmp_path):
        for _ in range(CLIENTS):
            with socket.create_connection(("127.0.0.1", gunicorn.port), PATIENCE_S) as client:
                client.sendall(GET)
        wait_until(lambda: 0 in backlogs(gunicorn.port), "the other worker has nothing left", timeout_s=PATIENCE_S)

        assert any(backlogs(gunicorn.port)) == bool(arguments)


def test_gthread_accepts_what_it_has_no_thread_for(start: Start, tmp_path: Path) -> None:
    gunicorn = start({"GUNICORN_THREADS": "1", "WEB_CONCURRENCY": "1"})
    with slow_request(gunicorn, tmp_path), ExitStack() as exits:
        for _ in range(CLIENTS):
            client = exits.enter_context(socket.create_connection(("127.0.0.1", gunicorn.port), PATIENCE_S))
            client.sendall(GET)

        wait_until(lambda: not any(backlogs(gunicorn.port)), "all are accepted", timeout_s=PATIENCE_S)


def backlogs(port: int) -> list[int]:
    """Return how many connections wait to be accepted, for each listening socket."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [int(row[4].partition(":")[2], 16) for row in rows if row[1].endswith(f":{port:04X}") and row[3] == LISTENING]
