"""What happens to connections when gunicorn is told to stop: served, or refused so that nginx asks another container; never reset."""

import http.client
import signal
import socket
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.clients import wait_until
from tests.gunicorn_conf.process import PATIENCE_S, Edited, Gunicorn, Start
from tests.gunicorn_conf.test_processes import CLASSES, slow_request

POST = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"
# So that the second connection stays in the listen backlog while the first is served.
ONE_AT_A_TIME = {"GUNICORN_CMD_ARGS": "--worker-connections 1"}

# Put after the file: the hooks as gunicorn has them, and a worker that says when it was told to stop.
AS_GUNICORN_DOES = """
import signal
del when_ready

def post_worker_init(worker):
    leave = signal.getsignal(signal.SIGTERM)

    def stop(number, frame):
        leave(number, frame)
        print("told to stop", file=sys.stderr, flush=True)

    signal.signal(signal.SIGTERM, stop)
"""
# The kernel takes a handshake for pending until the request arrives; on a busy machine, until its last packet does.
PENDING = """
import socket
gunicorn_hooks.drain.BACKLOG_S = 60
prepare = when_ready

def when_ready(server):
    for listener in server.LISTENERS:
        listener.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 60)
    prepare(server)
"""
WITHOUT_LOOKING = "gunicorn_hooks.drain.has_connections = lambda *_: False\n"
WITHOUT_BINDING = "gunicorn_hooks.drain.SO_BINDTOIFINDEX = -1\n"


def settings(worker_class: str, **more: str) -> dict[str, str]:
    one = ONE_AT_A_TIME if worker_class in {"gthread", "gevent"} else {}
    return {"GUNICORN_WORKER_CLASS": worker_class, "GUNICORN_THREADS": "1", **one, **more}


def queue_a_post(gunicorn: Gunicorn) -> socket.socket:
    """Return a connection with a request on it that no worker has accepted yet."""
    client = socket.create_connection(("127.0.0.1", gunicorn.port), timeout=PATIENCE_S)
    client.sendall(POST)
    return client


def heard(gunicorn: Gunicorn, words: str) -> None:
    wait_until(lambda: words in gunicorn.log(), f"the log says {words!r}", timeout_s=PATIENCE_S)


@pytest.mark.parametrize("worker_class", CLASSES)
def test_the_listen_backlog_is_served(start: Start, tmp_path: Path, worker_class: str) -> None:
    gunicorn = start(settings(worker_class))
    with slow_request(gunicorn, tmp_path) as first, queue_a_post(gunicorn) as second:
        gunicorn.signal(signal.SIGTERM)
        wait_until(lambda: refuses(gunicorn), "new connections are refused", timeout_s=PATIENCE_S)
        (tmp_path / "release").touch()

        assert first.result()[0] == 200
        assert second.recv(65536).startswith(b"HTTP/1.1 200 OK")
    assert gunicorn.wait() == 0


@pytest.mark.parametrize("worker_class", CLASSES)
def test_a_pending_handshake_is_served(start: Start, worker_class: str, edited: Edited) -> None:
    gunicorn = start(settings(worker_class), conf=edited(PENDING))
    with socket.create_connection(("127.0.0.1", gunicorn.port), timeout=PATIENCE_S) as client:
        gunicorn.signal(signal.SIGTERM)
        wait_until(lambda: refuses(gunicorn), "new connections are refused", timeout_s=PATIENCE_S)
        client.sendall(POST)

        assert client.recv(65536).startswith(b"HTTP/1.1 200 OK")


def test_without_looking_for_handshakes_it_is_reset(start: Start, edited: Edited) -> None:
    gunicorn = start(settings("sync"), conf=edited(PENDING + WITHOUT_LOOKING))
    with socket.create_connection(("127.0.0.1", gunicorn.port), timeout=PATIENCE_S) as client:
        gunicorn.signal(signal.SIGTERM)
        gunicorn.wait()
        client.sendall(POST)
        with pytest.raises(ConnectionResetError):
            client.recv(65536)


@pytest.mark.parametrize("worker_class", ["sync", "gthread"])
def test_as_gunicorn_does_it_is_reset(start: Start, tmp_path: Path, worker_class: str, edited: Edited) -> None:
    gunicorn = start(settings(worker_class), conf=edited(AS_GUNICORN_DOES))
    with slow_request(gunicorn, tmp_path) as first, queue_a_post(gunicorn) as second:
        gunicorn.signal(signal.SIGTERM)
        heard(gunicorn, "told to stop")
        (tmp_path / "release").touch()

        assert first.result()[0] == 200
        with pytest.raises(ConnectionResetError):
            second.recv(65536)


def test_without_the_binding_new_connections_are_accepted(start: Start, tmp_path: Path, edited: Edited) -> None:
    gunicorn = start(settings("sync"), conf=edited(WITHOUT_BINDING))
    with slow_request(gunicorn, tmp_path), queue_a_post(gunicorn):
        gunicorn.signal(signal.SIGTERM)
        heard(gunicorn, "Handling signal: term")

        assert not refuses(gunicorn)


@pytest.mark.parametrize("worker_class", CLASSES)
def test_while_it_finishes_new_connections_are_refused(start: Start, tmp_path: Path, worker_class: str) -> None:
    gunicorn = start({"GUNICORN_WORKER_CLASS": worker_class})
    with slow_request(gunicorn, tmp_path) as answer:
        gunicorn.signal(signal.SIGTERM)
        heard(gunicorn, "Handling signal: term")
        wait_until(lambda: refuses(gunicorn), "connections are refused", timeout_s=PATIENCE_S)

        assert not answer.done()
        (tmp_path / "release").touch()
        assert answer.result()[0] == 200


def refuses(gunicorn: Gunicorn) -> bool:
    """Say whether a connection is refused: what nginx takes for a reason to ask another container."""
    try:
        socket.create_connection(("127.0.0.1", gunicorn.port), timeout=0.5).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("worker_class", ["sync", "gthread"])
def test_as_gunicorn_does_they_are_accepted_and_forgotten(start: Start, tmp_path: Path, worker_class: str, edited: Edited) -> None:
    gunicorn = start(settings(worker_class), conf=edited(AS_GUNICORN_DOES))
    with slow_request(gunicorn, tmp_path):
        gunicorn.signal(signal.SIGTERM)
        heard(gunicorn, "told to stop")

        assert not refuses(gunicorn)


@pytest.mark.parametrize("worker_class", ["gthread", "gevent"])
def test_a_kept_connection_is_answered_once_more_and_told_to_close(start: Start, worker_class: str) -> None:
    gunicorn = start({"GUNICORN_WORKER_CLASS": worker_class})
    with closing(gunicorn.connect()) as kept:
        ask(kept)
        gunicorn.signal(signal.SIGTERM)
        # New connections are refused first, and then the worker is told: until then it answers as ever.
        wait_until(lambda: ask(kept).headers["Connection"] == "close", "an answer says that it was the last", timeout_s=PATIENCE_S)

        assert refuses(gunicorn)
    assert gunicorn.wait() == 0


def ask(connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
    connection.request("GET", "/")
    answer = connection.getresponse()
    answer.read()
    return answer


def test_gevent_ends_when_nginx_has_closed_its_idle_connections(start: Start) -> None:
    gunicorn = start({"GUNICORN_WORKER_CLASS": "gevent"})
    with closing(gunicorn.connect()) as kept:
        ask(kept)
        gunicorn.signal(signal.SIGTERM)
        wait_until(lambda: refuses(gunicorn), "it is told to stop", timeout_s=PATIENCE_S)
    assert gunicorn.wait() == 0
    assert "graceful timeout" not in gunicorn.log()


def test_a_connection_that_stays_holds_gevent_until_its_graceful_timeout(start: Start) -> None:
    gunicorn = start({"GUNICORN_WORKER_CLASS": "gevent", "GUNICORN_CMD_ARGS": "--graceful-timeout 3"})
    with closing(gunicorn.connect()) as kept:
        ask(kept)
        told_at = time.monotonic()
        gunicorn.signal(signal.SIGTERM)
        gunicorn.wait()
    assert time.monotonic() - told_at >= 3
