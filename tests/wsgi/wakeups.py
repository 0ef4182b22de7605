"""How many idle workers wake for one connection (docs/wakeups.md): python -m tests.wsgi.wakeups

Of a worker that does not serve the connection each wake-up ends in a voluntary context switch: it looks, finds nothing, and waits again.
The kernel counts these for each thread. The next connection comes when all workers sleep.
"""

import argparse
import os
import shutil
import socket
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import psutil

from tests.clients import wait_until
from tests.gunicorn_conf.process import HERE, environment
from tools.stack.machine import free_ports

GUNICORN = (sys.executable, "-m", "gunicorn", "--no-control-socket", "--bind", "127.0.0.1:{port}", "--workers", "{workers}", "tiny_app:app")
UWSGI = (
    *("uwsgi", "--http-socket", "127.0.0.1:{port}", "--master", "--die-on-term", "--need-app", "--lazy-apps", "--disable-logging"),
    *("--module", "tiny_app:app", "--processes", "{workers}"),
)
WARM_UP = 20
LEAST = (sys.executable, str(Path(__file__).with_name("waiting.py")))
SERVERS = {
    "accept() alone": (*LEAST, "accept", "{port}", "{workers}"),
    "epoll": (*LEAST, "epoll", "{port}", "{workers}"),
    "epoll, EPOLLEXCLUSIVE": (*LEAST, "exclusive", "{port}", "{workers}"),
    "gunicorn sync": GUNICORN,
    "gunicorn gthread": (*GUNICORN, "--threads", "8"),
    "gunicorn gevent": (*GUNICORN, "-k", "gevent"),
    "gunicorn tornado": (*GUNICORN, "-k", "tornado"),
    "gunicorn gthread, --reuse-port": (*GUNICORN, "--threads", "8", "--reuse-port"),
    "uWSGI": UWSGI,
    "uWSGI, 8 threads": (*UWSGI, "--enable-threads", "--threads", "8"),
    "uWSGI, 8 threads, --thunder-lock": (*UWSGI, "--enable-threads", "--threads", "8", "--thunder-lock"),
}


@dataclass(frozen=True)
class Found:
    """What was seen of some connections, one after the other."""

    woken: Sequence[int]  # workers, with the one that served, for each connection
    in_vain: float  # share of the workers' CPU that went to those that served nothing
    busiest: float  # share of the connections that one worker served


class Workers:
    """The worker processes of a server at a port."""

    def __init__(self, port: int, pids: Sequence[int]) -> None:
        self._port, self._pids = port, pids

    def measure(self, connections: int) -> Found:
        """Open one connection after the other, each with one request."""
        woken, served, used, in_vain = [], Counter[int](), 0, 0
        for _ in range(connections):
            self.sleep()
            switches, cpu = {pid: self._switches(pid) for pid in self._pids}, {pid: self._cpu_ns(pid) for pid in self._pids}
            server = ask(self._port)
            self.sleep()
            others = [pid for pid in self._pids if pid != server and self._switches(pid) > switches[pid]]
            served[server] += 1
            spent = {pid: self._cpu_ns(pid) - cpu[pid] for pid in self._pids}
            woken.append(1 + len(others))
            used, in_vain = used + sum(spent.values()), in_vain + sum(spent[pid] for pid in others)
        return Found(woken, in_vain / used, max(served.values()) / connections)

    def sleep(self) -> None:
        """Return when every thread of every worker sleeps."""
        until = time.monotonic() + 60
        while any(file.read_text().rpartition(")")[2].split()[0] != "S" for file in self._files(self._pids, "stat")):
            assert time.monotonic() < until, "the workers do not come to rest"
            time.sleep(0.001)

    def _switches(self, pid: int) -> int:
        lines = (line for file in self._files([pid], "status") for line in file.read_text().splitlines())
        return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))

    def _cpu_ns(self, pid: int) -> int:
        return sum(int(file.read_text().split()[0]) for file in self._files([pid], "schedstat"))

    def _files(self, pids: Iterable[int], name: str) -> Iterator[Path]:
        return (file for pid in pids for file in Path(f"/proc/{pid}/task").glob(f"*/{name}"))


def ask(port: int) -> int:
    """Send a request over a connection of its own, and return the process that answered."""
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    return int(answer.partition(b'"pid": ')[2].partition(b",")[0])


@contextmanager
def running(server: str, workers: int) -> Iterator[Workers]:
    """Run a server until the end of the block."""
    [port] = free_ports(1)
    command = [part.format(port=port, workers=workers) for part in SERVERS[server]]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        with log.open("wb") as output:
            process = Popen(command, cwd=folder, env=environment({"PYTHONPATH": str(HERE), "HOME": folder}), stdout=output, stderr=output)
        try:
            yield workers_of(process, log, port, workers)
        finally:
            process.terminate()
            process.wait(60)


def workers_of(process: Popen[bytes], log: Path, port: int, count: int) -> Workers:
    """Return the workers when all are there and have loaded the application."""

    def ready() -> list[int]:
        assert process.poll() is None, log.read_text()
        children = [child.pid for child in psutil.Process(process.pid).children()]
        return children if len(children) == count else []

    workers = Workers(port, wait_until(ready, "the server has its workers", timeout_s=60))
    wait_until(lambda: answers(port), "the server answers", timeout_s=60)
    workers.measure(WARM_UP)
    return workers


def answers(port: int) -> bool:
    """Say whether a worker answers."""
    try:
        return ask(port) > 0
    except OSError:
        return False


def main(count: int, connections: int) -> None:
    """Measure all servers that are installed, and print."""
    print(f"{count} workers, {connections} connections, Linux {os.uname().release}, {os.cpu_count()} cores\n")
    print("| server | workers that wake for a connection | their CPU for nothing | served by the busiest |\n|---|---|---|---|")
    for server, command in SERVERS.items():
        if not shutil.which(command[0]):
            print(f"| {server} | {command[0]} is not installed | | |")
            continue
        with running(server, count) as workers:
            found = workers.measure(connections)
        print(f"| {server} | {statistics.mean(found.woken):.2f} | {found.in_vain:.0%} | {found.busiest:.0%} |", flush=True)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--count", type=int, default=8)
    options.add_argument("--connections", type=int, default=300)
    main(**vars(options.parse_args()))
