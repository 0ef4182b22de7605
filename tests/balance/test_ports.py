"""The gateway's ports towards a container that closes after each answer: there is always one to connect from."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.clients import wait_until
from tools.stack import Stack

pytestmark = pytest.mark.runtimes("compose")  # the local runtime is on loopback, where the kernel reuses ports by itself
# What takes more than 28,000 requests in a minute with the kernel's range takes more than 60 here. Of a connection whose two ends close
# at once, only one end keeps its port: several rounds, each with fewer requests than there are ports.
PORTS, REQUESTS, ROUNDS = 60, 40, 8
# Without the WAF, so that it is the gateway that connects to the app.
SYNC = {"GUNICORN_WORKER_CLASS": "sync", "APP_REPLICAS": "1", "LIMITS": "off", "WAF_MODE": "Off"}
FEW_PORTS = """services:
  gateway:
    sysctls:
      net.ipv4.ip_local_port_range: "50000 {last}"
      {more}
"""
TIME_WAIT, LASTS_S, REUSED_AFTER_S = "06", 60, 1
TICKS_PER_S = 100  # in which /proc counts


def waiting_s(stack: Stack) -> list[float]:
    """For how long each of the gateway's closed connections to the app has kept its port."""
    rows = [line.split() for line in stack.exec("gateway", ["cat", "/proc/net/tcp"]).stdout.splitlines()[1:]]
    return [LASTS_S - int(row[5].partition(":")[2], 16) / TICKS_PER_S for row in rows if row[3] == TIME_WAIT and row[2].endswith(":1F40")]


@pytest.fixture
def with_few_ports(stack_factory: Callable[..., Stack], tmp_path: Path) -> Callable[[str], tuple[Counter[int], Stack]]:
    """Return a function (another line of sysctls) -> what all requests got."""

    def ask(more: str) -> tuple[Counter[int], Stack]:
        override = tmp_path / "few-ports.yaml"
        override.write_text(FEW_PORTS.format(last=50000 + PORTS - 1, more=more))
        stack = stack_factory(SYNC, [override])
        answers = Counter[int]()
        with httpx.Client(base_url=stack.url, timeout=10) as client:
            for _ in range(ROUNDS):
                answers.update(client.get("/healthz").status_code for _ in range(REQUESTS))
                wait_until(
                    lambda: min(waiting_s(stack), default=LASTS_S) > 2 * REUSED_AFTER_S, "all connections have been closed for a while"
                )
        return answers, stack

    return ask


def test_a_port_whose_connection_is_closed_is_used_again(with_few_ports: Callable[[str], tuple[Counter[int], Stack]]) -> None:
    answers, _ = with_few_ports("")
    assert answers == {200: ROUNDS * REQUESTS}


def test_with_the_kernels_default_there_is_no_port_left(with_few_ports: Callable[[str], tuple[Counter[int], Stack]]) -> None:
    answers, stack = with_few_ports('net.ipv4.tcp_tw_reuse: "2"')
    assert answers[502] > 0
    assert "Cannot assign requested address" in stack.logs("gateway")
