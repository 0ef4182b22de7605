"""A request whose client closed its connection while it was in the listen backlog is dropped."""

import socket
from pathlib import Path

import pytest

from tests.gunicorn_conf.process import PATIENCE_S, Edited, Gunicorn, Start
from tests.gunicorn_conf.test_drain import settings
from tests.gunicorn_conf.test_processes import slow_request

# /meet remembers that it was asked, and says whether it was before.
ASKED = b"POST /meet?1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"


def was_worked_on(gunicorn: Gunicorn, folder: Path) -> bool:
    """Queue a request behind a slow one, close the connection, and say whether the application saw it."""
    with slow_request(gunicorn, folder) as first:
        with socket.create_connection(("127.0.0.1", gunicorn.port), timeout=PATIENCE_S) as client:
            client.sendall(ASKED)
        (folder / "release").touch()
        assert first.result()[0] == 200
    return bool(gunicorn.get("/meet?1")[1]["met"])


@pytest.mark.parametrize("worker_class", ["sync", "gthread", "gevent"])
def test_an_abandoned_request_is_dropped(start: Start, tmp_path: Path, worker_class: str) -> None:
    gunicorn = start(settings(worker_class))

    assert not was_worked_on(gunicorn, tmp_path)
    assert "Traceback" not in gunicorn.log()


@pytest.mark.parametrize("worker_class", ["sync", "gthread", "gevent"])
def test_without_the_hook_it_is_worked_on(start: Start, tmp_path: Path, worker_class: str, edited: Edited) -> None:
    """The twin."""
    assert was_worked_on(start(settings(worker_class), conf=edited("del pre_request\n")), tmp_path)
