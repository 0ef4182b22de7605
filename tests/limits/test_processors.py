"""Who comes first where processors are short: a gateway that waits for its turn refuses nobody in time (docs/limits.md)."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from loadtest.measure.usage import ContainerMeter
from tests.surgery import unit_list
from tools.stack import Stack
from tools.stack.compose import docker
from tools.stack.machine import processors

pytestmark = pytest.mark.runtimes("compose")
# Wants a whole processor, and ends by itself.
BUSY = ("timeout", "2", "sh", "-c", "while :; do :; done")


@pytest.fixture
def rivals(stack: Stack) -> Iterator[tuple[str, str]]:
    """The gateway's container and one of the app's, on one processor."""
    names = (unit_list(stack, "gateway")[0].id, unit_list(stack, "app")[0].id)
    with changed("--cpuset-cpus", str(processors()[0]), ",".join(map(str, processors())), *names):
        yield names


@contextmanager
def changed(option: str, value: str, before: str, *names: str) -> Iterator[None]:
    docker("update", option, value, *names)
    try:
        yield
    finally:
        docker("update", option, before, *names)


def ratio(rivals: tuple[str, str]) -> float:
    """Let both want the processor, and return how much more of it the first one got."""
    meters = [ContainerMeter(name) for name in rivals]
    before = [meter.cpu_ns() or 0 for meter in meters]
    with ExitStack() as both:
        for name in rivals:
            both.enter_context(subprocess.Popen(["docker", "exec", name, *BUSY]))
    first, second = (meter.cpu_ns() or 0 for meter in meters)
    return (first - before[0]) / (second - before[1])


def test_the_gateway_comes_before_the_app(rivals: tuple[str, str]) -> None:
    assert ratio(rivals) > 2


def test_with_equal_shares_it_waits_like_everybody(rivals: tuple[str, str]) -> None:
    """The twin: as it is without `cpu_shares`."""
    with changed("--cpu-shares", "1024", "4096", rivals[0]):
        assert ratio(rivals) < 2
