"""A frozen database in a container: each worker finds out once, and everybody after that is answered at once."""

from collections.abc import Iterator

import httpx
import pytest

from kit_flask.deadline import BREAKER_OPEN
from tests.conftest import StackFactory
from tools.reliability.measure.faults import FAULTS
from tools.stack import Stack
from tools.stack.compose import ComposeStack
from tools.stack.waiting import wait_until

pytestmark = pytest.mark.runtimes("compose")

REPLICAS = 2  # of one worker each
REQUESTS = 20
# How long no answer is waited for here; the kit's own bounds are shorter.
PATIENCE_S = 60.0


@pytest.fixture
def frozen(stack_factory: StackFactory) -> Iterator[Stack]:
    """A stack whose database is frozen until the test has ended."""
    stack = stack_factory({"LIMITS": "off", "APP_REPLICAS": str(REPLICAS), "LAB_ENABLED": "0"})
    assert isinstance(stack, ComposeStack)
    fault = FAULTS["freeze-database"]
    assert fault.end
    fault.begin(stack)
    try:
        yield stack
    finally:
        fault.end(stack)
        with httpx.Client(base_url=stack.url, timeout=PATIENCE_S) as client:
            wait_until(lambda: client.get("/readyz").status_code == httpx.codes.OK, 30, "the app asks the database again")


def found_out(stack: Stack) -> int:
    """How often a request waited in vain and told the others of its worker."""
    return stack.logs("app").count("circuit breaker open")


def test_each_worker_waits_once_for_a_frozen_database(frozen: Stack) -> None:
    """One request after the other, so that each that waits finds out. The twins, without the breaker: tests/app/test_database.py."""
    ids = [f"frozen-database-{number:03}" for number in range(REQUESTS)]
    before = found_out(frozen)
    with httpx.Client(base_url=frozen.url, timeout=PATIENCE_S) as client:
        answers = [client.get("/api/entries", headers={"X-Request-ID": one}) for one in ids]
        assert client.get("/healthz").status_code == httpx.codes.OK

    assert {(answer.status_code, answer.headers["Retry-After"]) for answer in answers} == {(503, "5")}
    assert 1 <= found_out(frozen) - before <= REPLICAS
    refusals = [line for line in frozen.logs("app").splitlines() if "the database is not available" in line]
    assert sum(BREAKER_OPEN in line and any(one in line for one in ids) for line in refusals) >= REQUESTS - REPLICAS
