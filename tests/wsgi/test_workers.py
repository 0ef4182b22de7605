"""What gunicorn's master and workers do; docs/workers.md says it."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import RemoteDisconnected
from pathlib import Path

import psutil
import pytest

from tests.clients import wait_until
from tests.gunicorn_conf.process import PATIENCE_S, Edited, Gunicorn, Start
from tests.gunicorn_conf.test_processes import slow_request

LISTENING = "0A"  # include/net/tcp_states.h
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
LOOK = " and not (server.reexec_pid or server.master_pid)"


def workers(gunicorn: Gunicorn) -> set[int]:
    return {child.pid for child in psutil.Process(gunicorn.pid).children()}


def wait_for_workers(gunicorn: Gunicorn, count: int, *others: int) -> set[int]:
    """Wait until there are so many workers and none of `others` is left, and return them."""
    wait_until(lambda: len(workers(gunicorn)) == count and not workers(gunicorn) & {*others}, f"{count} workers", timeout_s=PATIENCE_S)
    return workers(gunicorn)


def listening_sockets(pid: int) -> set[str]:
    """Return the inodes of the sockets of a process that listen."""
    listening = {line.split()[9] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if line.split()[3] == LISTENING}
    opened = {str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.is_symlink()}
    return {inode for inode in listening if f"socket:[{inode}]" in opened}


@contextmanager
def stopped(pids: set[int]) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    yield
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def test_master_and_workers_share_one_listening_socket_and_only_workers_accept(start: Start) -> None:
    gunicorn = start({"WEB_CONCURRENCY": "2"})
    sockets = [listening_sockets(pid) for pid in (gunicorn.pid, *wait_for_workers(gunicorn, 2))]

    assert len(sockets[0]) == 1
    assert sockets == [sockets[0]] * 3
    with stopped(workers(gunicorn)), socket.create_connection(("127.0.0.1", gunicorn.port), PATIENCE_S) as connection:
        connection.sendall(GET)  # connected by the kernel, and nobody reads
        connection.settimeout(0.5)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        for pid in workers(gunicorn):
            os.kill(pid, signal.SIGCONT)
        connection.settimeout(PATIENCE_S)
        assert connection.recv(12) == b"HTTP/1.1 200"


def test_a_worker_that_dies_is_replaced_and_the_backlog_stays(start: Start) -> None:
    gunicorn = start()
    [before] = workers(gunicorn)
    os.kill(before, signal.SIGSTOP)
    with socket.create_connection(("127.0.0.1", gunicorn.port), PATIENCE_S) as in_backlog:
        in_backlog.sendall(GET)
        os.kill(before, signal.SIGKILL)

        assert in_backlog.recv(12) == b"HTTP/1.1 200"
    assert before not in workers(gunicorn)
    assert f"Worker (pid:{before}) was sent SIGKILL" in gunicorn.log()


def test_a_worker_that_is_silent_for_the_timeout_is_killed(start: Start) -> None:
    gunicorn = start({"GUNICORN_TIMEOUT": "1"})
    [before] = workers(gunicorn)
    os.kill(before, signal.SIGSTOP)

    wait_for_workers(gunicorn, 1, before)
    assert f"WORKER TIMEOUT (pid:{before})" in gunicorn.log()


def test_workers_end_when_their_master_is_gone(start: Start) -> None:
    gunicorn = start({"WEB_CONCURRENCY": "2"})
    orphans = wait_for_workers(gunicorn, 2)
    os.kill(gunicorn.pid, signal.SIGKILL)
    gunicorn.wait()

    wait_until(lambda: not any(map(psutil.pid_exists, orphans)), "the workers have ended", timeout_s=PATIENCE_S)


def test_ttin_and_ttou_change_the_number_of_workers(start: Start) -> None:
    gunicorn = start()
    gunicorn.signal(signal.SIGTTIN)
    more = wait_for_workers(gunicorn, 2)
    gunicorn.signal(signal.SIGTTOU)

    assert wait_for_workers(gunicorn, 1) == {max(more)}  # the oldest goes


@pytest.fixture(params=[True, False])
def looks(request: pytest.FixtureRequest) -> bool:
    """Whether the drain looks for another master: the negative twin does not."""
    return bool(request.param)


@pytest.fixture
def two_masters(start: Start, edited: Edited, *, looks: bool) -> tuple[Gunicorn, int]:
    """gunicorn, and the second master that it has made on SIGUSR2."""
    conf = edited("")
    drain = conf.parent / "gunicorn_hooks/drain.py"
    assert LOOK in drain.read_text()
    if not looks:
        drain.write_text(drain.read_text().replace(LOOK, ""))
    gunicorn = start(conf=conf)
    own = workers(gunicorn)
    gunicorn.signal(signal.SIGUSR2)
    second = wait_until(lambda: workers(gunicorn) - own, "a second master", timeout_s=PATIENCE_S).pop()
    wait_until(lambda: gunicorn.log().count("Booting worker") == 2, "it has a worker", timeout_s=PATIENCE_S)
    return gunicorn, second


def test_after_usr2_either_master_can_go(two_masters: tuple[Gunicorn, int], *, looks: bool) -> None:
    gunicorn, second = two_masters
    assert listening_sockets(second) == listening_sockets(gunicorn.pid)
    gunicorn.signal(signal.SIGTERM)
    assert gunicorn.wait() == 0

    assert answers(gunicorn) == looks
    assert psutil.pid_exists(second)  # the fixture ends it


def test_and_the_second_takes_nothing_with_it(two_masters: tuple[Gunicorn, int], *, looks: bool) -> None:
    gunicorn, second = two_masters
    os.kill(second, signal.SIGTERM)
    wait_until(lambda: second not in workers(gunicorn), "the second master has ended", timeout_s=PATIENCE_S)

    assert answers(gunicorn) == looks


def answers(gunicorn: Gunicorn) -> bool:
    """Say whether it answers, or refuses connections."""
    try:
        return bool(gunicorn.get("/")[0] == 200)
    except ConnectionRefusedError:
        return False


@pytest.mark.parametrize(("worker_class", "status"), [("sync", 500), ("gevent", 0), ("tornado", 0)])
@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGINT])
def test_two_signals_cut_what_is_in_flight(start: Start, tmp_path: Path, number: signal.Signals, worker_class: str, status: int) -> None:
    gunicorn = start({"GUNICORN_WORKER_CLASS": worker_class})
    with slow_request(gunicorn, tmp_path) as answer:
        gunicorn.signal(number)

        if status:
            assert answer.result()[0] == status
        else:
            assert isinstance(answer.exception(), RemoteDisconnected | ConnectionResetError)


def test_gthread_finishes_it(start: Start, tmp_path: Path) -> None:
    gunicorn = start()
    with slow_request(gunicorn, tmp_path) as answer:
        gunicorn.signal(signal.SIGQUIT)
        wait_until(lambda: "Handling signal: quit" in gunicorn.log(), "gunicorn heard it", timeout_s=PATIENCE_S)
        (tmp_path / "release").touch()

        assert answer.result()[0] == 200
