"""A frozen app container with compose/health-checks.yaml, and without it: whether it gets requests.

Which containers are in rotation in every other case: tests/health_checks.
"""

import itertools
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.clients import wait_until
from tests.conftest import ROOT, StackFactory
from tools.reliability.measure.faults import signal_all
from tools.stack.base import Unit
from tools.stack.compose import ComposeStack, addresses

pytestmark = pytest.mark.runtimes("compose")

SETTINGS = {"LIMITS": "off", "APP_REPLICAS": "2", "LAB_ENABLED": "0"}
ROUNDS = itertools.count()


@pytest.fixture
def checked(stack_factory: StackFactory) -> ComposeStack:
    # A subnet for each test process: they run at the same time.
    settings = {**SETTINGS, "HEALTH_CHECKS_SUBNET": f"10.85.{os.getpid() % 256}"}
    stack = stack_factory(settings, [ROOT / "compose/health-checks.yaml"])
    assert isinstance(stack, ComposeStack)
    return stack


@pytest.fixture
def unchecked(stack_factory: StackFactory) -> ComposeStack:
    stack = stack_factory(SETTINGS)
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
    with httpx.Client(base_url=stack.url, timeout=3) as client:
        for number in range(requests):
            headers = {"X-Request-ID": f"{name}-{number:03}", "Idempotency-Key": f"{name}-{number:03}"}
            try:
                if number % 2:
                    client.post("/api/entries", json={"name": "Frozen", "message": name}, headers=headers).raise_for_status()
                else:
                    client.get("/healthz", headers=headers).raise_for_status()
            except httpx.HTTPError:
                return {""}

    def lines() -> list[str]:
        log = stack.compose("logs", "--no-color", "--no-log-prefix", "gateway").stdout
        return [line for line in log.splitlines() if f'"request_id":"{name}-' in line]

    wait_until(lambda: len(lines()) == requests, "the gateway has logged all of them")
    return {json.loads(line)["upstream"].split(", ")[-1].rpartition(":")[0] for line in lines()}


def is_left_out_and_comes_back(stack: ComposeStack, unit: Unit) -> None:
    with frozen(unit):
        (other,) = wait_until(lambda: asked(stack, 4) - {"", *addresses(unit.id)}, "nginx has the new list")
        assert asked(stack, 20) == {other}
    wait_until(lambda: set(addresses(unit.id)) & asked(stack, 4), "it is asked again")


def test_a_frozen_container_gets_no_request_until_it_answers_again(checked: ComposeStack) -> None:
    is_left_out_and_comes_back(checked, checked.units("app")[0])
    assert "does not answer GET /healthz with 200 within 2 s: out of rotation" in checked.logs("health-checks")


def test_nginx_finds_the_health_checks_again_when_the_engine_has_restarted_them(checked: ComposeStack) -> None:
    (checks,) = checked.units("health-checks")
    before = checked.logs("health-checks").count(":8000 is in rotation")
    checked.exec("health-checks", ["python", "-c", "import os, signal; os.kill(-1, signal.SIGKILL)"])
    wait_until(
        lambda: checked.logs("health-checks").count(":8000 is in rotation") == before + 2, "they have looked at both containers again"
    )

    assert addresses(checked.units("health-checks")[0].id) == addresses(checks.id)
    is_left_out_and_comes_back(checked, checked.units("app")[0])


def test_without_health_checks_it_is_asked_whenever_nobody_waits_for_it(unchecked: ComposeStack) -> None:
    """The twin: it is then one of those with the fewest requests in flight."""
    with frozen(unchecked.units("app")[0]):
        assert [asked(unchecked, 4) for _ in range(3)] == [{""}] * 3
