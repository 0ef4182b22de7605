"""A body that ends before its Content-Length is no upload: the client, or the gateway between, broke off."""

import socket
from pathlib import Path

import pytest

from tests.clients import wait_until
from tests.gunicorn_conf.process import PATIENCE_S, Edited, Gunicorn, Start

HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\nContent-Length: 100000\r\n\r\n"
SETTINGS = {"APP_MODULE": "keeper:app"}


def broken_off(gunicorn: Gunicorn, folder: Path) -> tuple[str, int | None]:
    """Send half of an upload; return the status of the answer, and how many bytes were kept."""
    with socket.create_connection(("127.0.0.1", gunicorn.port), timeout=PATIENCE_S) as client:
        client.sendall(HEAD + b"x" * 50_000)
        wait_until((folder / "begun").exists, "the view has begun")
        client.shutdown(socket.SHUT_WR)
        status = client.recv(1000).split(b" ")[1].decode()
    return status, (folder / "kept").stat().st_size if (folder / "kept").exists() else None


@pytest.mark.parametrize("worker_class", ["sync", "gthread", "gevent"])
def test_half_an_upload_is_not_kept(start: Start, tmp_path: Path, worker_class: str) -> None:
    gunicorn = start({**SETTINGS, "GUNICORN_WORKER_CLASS": worker_class})

    assert broken_off(gunicorn, tmp_path) == ("400", None)
    assert "Traceback" not in gunicorn.log()


@pytest.mark.parametrize("worker_class", ["sync", "gthread", "gevent"])
def test_without_the_hook_it_is(start: Start, tmp_path: Path, worker_class: str, edited: Edited) -> None:
    """The twin: a view, and a client that only stopped sending, hear of no mistake."""
    conf = edited("gunicorn_hooks.requests.refuse_half_bodies = print\n")

    assert broken_off(start({**SETTINGS, "GUNICORN_WORKER_CLASS": worker_class}, conf=conf), tmp_path) == ("200", 50_000)
