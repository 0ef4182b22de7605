"""A frozen app container gets no request once the gateway has noticed, and gets them again when it answers (nginx/rotation).

The twin, without health checks, and what happens when most are silent: tests/nginx/test_rotation.py.
"""

import itertools
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.clients import wait_until
from tests.conftest import StackFactory
from tools.reliability.measure.faults import signal_all
from tools.stack.base import Unit
from tools.stack.compose import ComposeStack
from tools.stack.rollout import addresses

pytestmark = pytest.mark.runtimes("compose")

ROUNDS = itertools.count()


@pytest.fixture
def stack(stack_factory: StackFactory) -> ComposeStack:
    stack = stack_factory({"LIMITS": "off", "APP_REPLICAS": "2", "LAB_ENABLED": "0"})
    assert isinstance(stack, ComposeStack)
    return stack


@contextmanager
def frozen(unit: Unit) -> Iterator[None]:
    signal_all(unit.id, signal.SIGSTOP)
    try:
        yield
    finally:
        signal_all(unit.id, signal.SIGCONT)


def asked(stack: ComposeStack, requests: int) -> set[str]:
    """Send GET and POST in turn, one after the other; return the addresses of the containers that answered, "" where none did in time."""
    name = f"round-{next(ROUNDS):04}"
    answered = []
    with httpx.Client(base_url=stack.url, timeout=3) as client:
        for number in range(requests):
            headers = {"X-Request-ID": f"{name}-{number:03}", "Idempotency-Key": f"{name}-{number:03}"}
            try:
                if number % 2:
                    client.post("/api/entries", json={"name": "Frozen", "message": name}, headers=headers).raise_for_status()
                else:
                    client.get("/healthz", headers=headers).raise_for_status()
                answered.append(headers["X-Request-ID"])
            except httpx.HTTPError:
                return {""}

    def lines() -> list[str]:
        log = stack.compose("logs", "--no-color", "--no-log-prefix", "gateway").stdout
        return [line for line in log.splitlines() if f'"request_id":"{name}-' in line]

    wait_until(lambda: len(lines()) == requests, "the gateway has logged all of them")
    return {json.loads(line)["upstream"].split(", ")[-1].rpartition(":")[0] for line in lines()}


def noticed(stack: ComposeStack) -> int:
    return stack.logs("gateway").count("does not answer GET /healthz")


def test_a_frozen_container_is_noticed_and_comes_back(stack: ComposeStack) -> None:
    unit = stack.units("app")[0]
    before = noticed(stack)
    with frozen(unit):
        wait_until(lambda: noticed(stack) > before, "the gateway notices")
        (other,) = wait_until(lambda: asked(stack, 4) - {""}, "nginx has the new list")
        assert other not in addresses(unit)
        assert asked(stack, 20) == {other}
    wait_until(lambda: set(addresses(unit)) & asked(stack, 4), "it is asked again")
