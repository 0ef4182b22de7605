"""How workers live and end: drained, replaced, watched, and without a control socket."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from http.client import RemoteDisconnected
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.clients import wait_until
from tests.gunicorn_conf.process import PATIENCE_S, Edited, Gunicorn, Start

PROBE = Path(__file__).parents[2] / "app/probe.py"
CLASSES = ("gthread", "sync", "gevent", "tornado")


@contextmanager
def slow_request(gunicorn: Gunicorn, folder: Path) -> Iterator["Future[tuple[int, Any]]"]:
    """Have a request in flight; it ends when `folder`/release is there."""
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(gunicorn.get, "/slow")
        wait_until((folder / "at-work").exists, "the request is in flight", timeout_s=PATIENCE_S)
        yield answer
        (folder / "release").touch()


@pytest.mark.parametrize("worker_class", CLASSES)
def test_a_request_in_flight_is_finished_on_sigterm(start: Start, tmp_path: Path, worker_class: str) -> None:
    gunicorn = start({"GUNICORN_WORKER_CLASS": worker_class})
    with slow_request(gunicorn, tmp_path) as answer:
        gunicorn.signal(signal.SIGTERM)
        wait_until(lambda: "Handling signal: term" in gunicorn.log(), "gunicorn heard it", timeout_s=PATIENCE_S)
        (tmp_path / "release").touch()

        assert answer.result()[1]["released"]
        assert gunicorn.wait() == 0


def test_the_probe_waits_behind_requests(start: Start, tmp_path: Path) -> None:
    """Where who is unhealthy is replaced (Swarm, Kubernetes), the probe has to wait longer than requests do."""
    gunicorn = start({"GUNICORN_THREADS": "1"})
    command, env = [sys.executable, "-I", "-S", str(PROBE), str(gunicorn.port)], {"HEALTH_PATH": "/"}
    with slow_request(gunicorn, tmp_path), subprocess.Popen(command, env={**env, "PROBE_TIMEOUT": "60"}) as patient:
        wait_until(lambda: psutil.Process(patient.pid).net_connections(), "it has asked", timeout_s=PATIENCE_S)

        assert subprocess.run(command, env={**env, "PROBE_TIMEOUT": "0.5"}, check=False).returncode == 1
        (tmp_path / "release").touch()
        assert patient.wait() == 0


def test_without_graceful_timeout_it_is_cut(start: Start, tmp_path: Path) -> None:
    gunicorn = start({"GUNICORN_CMD_ARGS": "--graceful-timeout 0"})
    with slow_request(gunicorn, tmp_path) as answer:
        gunicorn.signal(signal.SIGTERM)

        with pytest.raises((RemoteDisconnected, ConnectionResetError)):
            answer.result()


@pytest.mark.parametrize("worker_class", CLASSES)
def test_sighup_replaces_the_workers(start: Start, worker_class: str) -> None:
    gunicorn = start({"GUNICORN_WORKER_CLASS": worker_class})
    before = gunicorn.get("/")[1]
    gunicorn.signal(signal.SIGHUP)

    assert another_worker(gunicorn, before["pid"])["environment"] == before["environment"]


def another_worker(gunicorn: Gunicorn, pid: int) -> dict[str, Any]:
    """Ask until the answer comes from another process than `pid`, and return it."""

    def ask() -> dict[str, Any]:
        try:
            facts: dict[str, Any] = gunicorn.get("/")[1]
        except ConnectionError:  # it ended while it was asked; how seldom that may be is another test's subject
            return {}
        return facts if facts["pid"] != pid else {}

    return wait_until(ask, "another worker answers", timeout_s=PATIENCE_S)


@pytest.mark.parametrize("worker_class", CLASSES)
def test_a_worker_is_replaced_after_max_requests(start: Start, worker_class: str) -> None:
    few = {"GUNICORN_CMD_ARGS": "--max-requests 5 --max-requests-jitter 0"}
    gunicorn = start({"GUNICORN_WORKER_CLASS": worker_class, **few})

    # Asked until it happens: gevent and tornado look once a second whether they have had enough.
    assert another_worker(gunicorn, gunicorn.get("/")[1]["pid"])


def test_without_it_the_worker_stays(start: Start) -> None:
    gunicorn = start()

    assert len({gunicorn.get("/")[1]["pid"] for _ in range(15)}) == 1


def open_files(pid: int) -> str:
    """List what a process has open."""
    folder = Path(f"/proc/{pid}/fd")
    return "\n".join(str(entry.readlink()) for entry in folder.iterdir() if entry.is_symlink())


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="this machine has no /dev/shm")  # noqa: S108
def test_the_heartbeat_is_in_memory(start: Start, tmp_path: Path) -> None:
    assert "/dev/shm/wgunicorn-" in open_files(start().pid)  # noqa: S108
    assert f"{tmp_path}/wgunicorn-" in open_files(start({"GUNICORN_CMD_ARGS": f"--worker-tmp-dir {tmp_path}"}).pid)


def test_there_is_no_control_socket(start: Start, tmp_path: Path) -> None:
    start({"GUNICORN_CMD_ARGS": "--log-level debug", "XDG_RUNTIME_DIR": str(tmp_path)})

    assert list(tmp_path.rglob("*.ctl")) == []


def test_without_the_setting_there_is_one(start: Start, tmp_path: Path, edited: Edited) -> None:
    start({"XDG_RUNTIME_DIR": str(tmp_path)}, conf=edited("control_socket_disable = False\n"))

    wait_until(lambda: list(tmp_path.rglob("*.ctl")), "the control socket", timeout_s=PATIENCE_S)


@pytest.mark.parametrize("worker_class", ["gthread", "sync", "gevent"])
def test_the_limits_are_those_that_nginx_lets_through(start: Start, worker_class: str) -> None:
    gunicorn = start({"GUNICORN_WORKER_CLASS": worker_class})

    assert gunicorn.get("/" + "x" * 8000)[0] == 200
    assert gunicorn.get("/" + "x" * 8200)[0] == 414
    assert gunicorn.get("/", {"X-Long": "x" * 8000})[0] == 200
    assert gunicorn.get("/", {"X-Long": "x" * 8200})[0] == 431
    assert gunicorn.get("/", {f"X-{n}": "" for n in range(97)})[0] == 200
    assert gunicorn.get("/", {f"X-{n}": "" for n in range(101)})[0] == 431


def test_gunicorns_own_limit_refuses_what_nginx_lets_through(start: Start) -> None:
    assert start({"GUNICORN_CMD_ARGS": "--limit-request-line 4094"}).get("/" + "x" * 8000)[0] == 414
