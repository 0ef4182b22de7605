"""CPU of a request to the sample site, beside another revision's and beside a Flask view with nothing else (`make bench-site`).

Each side runs under gunicorn (gthread, one worker, 8 threads) with its own gunicorn.conf.py and PostgreSQL database. A round is a second of
requests to each in random order, and ratios are taken within a round: the noise of the machine meets all sides alike.
"""

import argparse
import os
import random
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil
from flask import Flask

from tests.app.postgres import cluster, new_database
from tests.app.server import ROOT, environment, gunicorn_command, running

PATHS = ("/lab/json", "/lab/page")
HERE, BARE = "this tree", "bare Flask view"
CONNECTIONS = 8
# What nginx sends.
REQUEST = """GET {path} HTTP/1.1\r
Host: localhost:8080\r
X-Forwarded-For: 192.0.2.7\r
X-Forwarded-Host: localhost:8080\r
X-Forwarded-Proto: http\r
X-Request-ID: 0123456789abcdef0123456789abcdef\r
X-Request-Start: t={now:.3f}\r
X-Gateway-Time: 0.000\r
Accept: */*\r
Accept-Encoding: gzip\r
User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r
\r
"""


def bare() -> Flask:
    """Make the least that answers as /lab/json does."""
    app = Flask(__name__)
    app.add_url_rule("/healthz", "healthz", lambda: "ok")
    app.add_url_rule("/lab/json", "json", lambda: {"message": "hello", "numbers": list(range(10))})
    return app


BARE_APP = {"APP_MODULE": "tests.app.bench:bare()", "PYTHONPATH": str(ROOT)}


class Site:
    """A gunicorn with one worker, and kept-alive connections to it. `app`: settings of another application than the site of `tree`."""

    def __init__(self, exits: ExitStack, server_url: str, tree: Path, app: Mapping[str, str] | None = None) -> None:
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory()))
        settings = {"DATABASE_URL": exits.enter_context(new_database(server_url)), "LAB_ENABLED": "1", "WEB_CONCURRENCY": "1"}
        if not app:
            migrate = [sys.executable, "-m", "flask", "--app", "kit_app", "db", "upgrade"]
            subprocess.run(migrate, cwd=tree / "app", env=environment(**settings), capture_output=True, check=True)
        server = exits.enter_context(running(gunicorn_command("--max-requests=0", root=tree), folder, {**settings, **(app or {})}))
        [self.worker] = psutil.Process(server.process.pid).children()
        for number in range(0 if app else 25):
            entry = {"name": f"Visitor {number}", "message": "A lovely evening, and thank you for everything. " * 3}
            httpx.post(f"{server.url}/api/entries", json=entry, timeout=60).raise_for_status()
        self.address = server.url.removeprefix("http://")
        host, _, port = self.address.partition(":")
        self._connections = [exits.enter_context(socket.create_connection((host, int(port)), 60)) for _ in range(CONNECTIONS)]

    def cpu_us(self, path: str, seconds: float = 1.0) -> float:
        """Microseconds of CPU for one request: one on each connection, wait for all the answers, and again."""
        count, before, end = 0, self._cpu_ns(), time.monotonic() + seconds
        while time.monotonic() < end:
            request = REQUEST.format(path=path, now=time.time()).encode()
            for connection in self._connections:
                connection.sendall(request)
            for connection in self._connections:
                receive(connection)
            count += CONNECTIONS
        return (self._cpu_ns() - before) / count / 1000

    def _cpu_ns(self) -> int:
        return sum(int(file.read_text().split()[0]) for file in Path(f"/proc/{self.worker.pid}/task").glob("*/schedstat"))


def receive(connection: socket.socket) -> None:
    """Read one answer, which must be a 200."""
    with connection.makefile("rb") as answer:
        head = b"".join(iter(answer.readline, b"\r\n"))
        length = re.search(rb"(?i)content-length: (\d+)", head)
        assert head.startswith(b"HTTP/1.1 200"), head
        assert length, head
        answer.read(int(length[1]))


def interval(values: Sequence[float]) -> str:
    """Return the median and its interval of 95 %, by rank."""
    ordered, reach = sorted(values), 0.98 * len(values) ** 0.5
    low, high = (max(0, min(len(values) - 1, round(len(values) / 2 + side * reach - 0.5))) for side in (-1, 1))
    return f"{statistics.median(values):.2f} ({ordered[low]:.2f} to {ordered[high]:.2f})"


def main(against: str, rounds: int) -> None:
    """Measure and print."""
    cores = sorted(os.sched_getaffinity(0))
    with ExitStack() as exits:
        old = Path(exits.enter_context(tempfile.TemporaryDirectory()))
        archive = subprocess.run(["git", "archive", against], cwd=ROOT, capture_output=True, check=True).stdout
        subprocess.run(["tar", "-x", "-C", old], input=archive, check=True)
        server_url = exits.enter_context(cluster()).url
        os.sched_setaffinity(0, cores[:1])  # gunicorn inherits it
        sites = {HERE: Site(exits, server_url, ROOT), BARE: Site(exits, server_url, ROOT, BARE_APP), against: Site(exits, server_url, old)}
        os.sched_setaffinity(0, cores[-1:])
        found: dict[tuple[str, str], list[float]] = {
            (path, name): [] for path in PATHS for name in sites if (path, name) != (PATHS[1], BARE)
        }
        for number in range(rounds + 1):
            for path, name in random.sample(list(found), len(found)):
                figure = sites[name].cpu_us(path)
                found[path, name] += [figure] if number else []  # the first warms up
    print(f"{rounds} rounds; load of the machine at the end: {psutil.getloadavg()[0]:.1f}\n")
    print("| path | of | µs of CPU | this tree takes, in proportion |\n|---|---|---|---|")
    for (path, name), values in found.items():
        ratios = [ours / theirs for ours, theirs in zip(found[path, HERE], values, strict=True)]
        print(f"| {path} | {name} | {statistics.median(values):.0f} | {'1' if name == HERE else interval(ratios)} |")


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--against", metavar="REVISION", default="HEAD")
    options.add_argument("--rounds", type=int, default=31)
    main(**vars(options.parse_args()))
