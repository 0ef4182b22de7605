"""Several generators make one load: here on hosts of their own, which are network namespaces."""

import os
import secrets
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from loadtest.measure.generation import GeneratorError, Generators
from loadtest.measure.order import Order, StepOrder
from tests.loadtest.servers import NEVER, running
from tests.loadtest.test_open_model import VISITORS

HERE, HOSTS = "198.18.0.1", ("198.18.0.2", "198.18.0.3")
STEP = StepOrder(rate_per_s=200.0, warm_up_s=0.3, measure_s=1.0)
GENERATOR = f"{sys.executable} -m loadtest.measure.generator"


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch, command: Callable[[str], str]) -> Iterator[list[str]]:
    """Names of two hosts that reach HERE."""
    ip, name = command("ip"), f"kit{secrets.token_hex(3)}"  # a namespace takes its links with it, but not at once
    names = [f"{name}{number}" for number in (0, 1)]
    steps = [f"link add {name}b type bridge", f"addr add {HERE}/24 dev {name}b", f"link set {name}b up"]
    for host, address in zip(names, HOSTS, strict=True):
        steps += [f"netns add {host}", f"link add {host}v master {name}b type veth peer name inside netns {host}", f"link set {host}v up"]
        steps += [f"-n {host} addr add {address}/24 dev inside", f"-n {host} link set inside up"]
    monkeypatch.setenv("LOADTEST_GENERATOR", f"{ip} netns exec {{host}} {GENERATOR}")
    with ExitStack() as exits:
        exits.callback(subprocess.run, [ip, "link", "delete", f"{name}b"], check=False)
        for host in names:
            exits.callback(subprocess.run, [ip, "netns", "delete", host], check=False)
        for step in steps:
            subprocess.run([ip, *step.split()], check=True)
        yield names


@pytest.fixture
def asked(hosts: list[str]) -> Iterator[tuple[str, Counter[str]]]:
    """The address of a server, and how often each host asked it."""
    assert hosts
    seen: Counter[str] = Counter()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            seen[self.client_address[0]] += 1
            self.send_response(200)
            self.send_header("Content-Length", "6")
            self.end_headers()
            self.wfile.write(b"hello\n")

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer((HERE, 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{HERE}:{server.server_port}", seen
        server.shutdown()


def order(url: str) -> Order:
    return Order(url=url, mix=((VISITORS, "Visitor", 1.0),))


def test_hosts_share_the_arrivals(hosts: list[str], asked: tuple[str, Counter[str]]) -> None:
    url, seen = asked
    events: list[str] = []
    with Generators(hosts) as generators:
        together = generators.visit(order(url)).step(STEP, events.append).recording

    expected = STEP.rate_per_s * STEP.measure_s
    assert abs(together.offered - expected) < 5 * expected**0.5, "Poisson, whatever the number of hosts"
    assert together.all.latency.count + together.all.failed.count == together.offered
    assert set(seen) == set(HOSTS)
    assert all(abs(number / seen.total() - 0.5) < 0.15 for number in seen.values())
    assert events == ["measuring", "measured"]


def test_a_lost_host_ends_the_run_by_name(hosts: list[str], asked: tuple[str, Counter[str]]) -> None:
    with Generators(hosts) as generators, pytest.raises(GeneratorError, match=f"the generator on {hosts[1]} ended before"):
        generators.visit(order(asked[0])).step(STEP, lambda _: os.kill(generators._all[1].pid, signal.SIGKILL))  # noqa: SLF001


@pytest.mark.parametrize(("late_s", "believed"), [("0", True), ("0.4", False)])
def test_hosts_that_measure_at_different_times_are_not_believed(monkeypatch: pytest.MonkeyPatch, late_s: str, *, believed: bool) -> None:
    later = 'read -r order; echo "$order"; read -r step; sleep {host}; echo "$step"; cat'
    monkeypatch.setenv("LOADTEST_GENERATOR", f"sh -c '({later}) | {GENERATOR}'")
    with running(NEVER) as url, Generators(["0", late_s]) as pair:
        seen = pair.visit(order(url)).step(STEP).recording

    assert [kind for kind in seen.errors if kind.startswith("generators measured ")] == list(seen.errors)
    assert bool(seen.errors) is not believed
