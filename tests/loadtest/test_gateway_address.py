"""The kit's stack in containers as the server under test: the generator meets nginx itself, and nothing beside it takes its processor."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx
import psutil
import pytest

from loadtest.catalogue import load_candidates
from loadtest.measure import kit
from tools.stack import StackError
from tools.stack.compose import docker

pytestmark = pytest.mark.runtimes("compose")
REQUESTS = 100
LOOPBACK = "127.0.0.1"


@pytest.fixture
def through_the_gateway(runtime: str) -> Callable[[], tuple[str, int, str]]:
    """Return a function that starts the servers and sends requests -> the gateway's address, wake-ups of docker-proxy, its log."""

    def ask() -> tuple[str, int, str]:
        with closing(kit.KitServers(runtime)) as servers:
            server = servers.start(load_candidates()["sync"])
            assert server.null_url
            with httpx.Client() as client:
                url = httpx.URL(server.url)
                before = wake_ups(url.port)
                answers = [client.get(f"{server.url}/healthz") for _ in range(REQUESTS)]
                assert {answer.status_code for answer in (*answers, client.get(server.null_url))} == {200}
                woken = wake_ups(url.port) - before
                assert client.get(server.url, headers={"Host": "elsewhere.example"}).status_code == 421
            return url.host, woken, docker("logs", f"{kit.NAME}-sync-gateway-1")

    return ask


def wake_ups(port: int | None) -> int:
    """How often the process that copies a published port's bytes has given up the processor, all its threads together."""
    found = [process for process in psutil.process_iter(["cmdline"]) if is_proxy(process.info["cmdline"] or [], str(port))]
    assert found, "the engine has no docker-proxy here"
    tasks = [Path(f"/proc/{process.pid}/task/{thread.id}/status") for process in found for thread in process.threads()]
    switches = [task.read_text() for task in tasks]
    return sum(int(line.split()[1]) for text in switches for line in text.splitlines() if "ctxt_switches" in line)


def is_proxy(command: list[str], port: str) -> bool:
    return bool(command) and command[0].endswith("docker-proxy") and command[command.index("-host-port") + 1] == port


def test_the_generator_goes_past_docker_proxy(through_the_gateway: Callable[[], tuple[str, int, str]]) -> None:
    host, woken, log = through_the_gateway()
    assert host != LOOPBACK
    assert woken == 0
    assert '"uri"' not in log  # each line would cost the engine a tenth of a millisecond


def test_without_a_bridge_it_is_the_published_port_on_loopback(
    through_the_gateway: Callable[[], tuple[str, int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The twin: this way works as well, and the engine's process meets every request."""
    monkeypatch.setattr(kit, "docker", no_bridge)
    host, woken, _ = through_the_gateway()
    assert host == LOOPBACK
    assert woken > REQUESTS


def no_bridge(*_arguments: str) -> str:
    raise StackError("docker network failed")
