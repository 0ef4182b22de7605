"""Every scenario gets right answers from the kit, and takes nothing else for one."""

from collections.abc import Iterator

import pytest

from loadtest.measure.generation import GeneratorProcess
from loadtest.measure.order import Generated, Order, StepOrder
from tests.loadtest.servers import NEVER, running
from tools.stack import Stack

# What each scenario asks for, by the names that its requests have in the figures.
REQUESTS = {
    "Hello": {"hello"},
    "Json": {"json"},
    "Page": {"page"},
    "Write": {"write"},
    "Cpu": {"cpu"},
    "Wait": {"wait"},
    "Mixed": {"fast", "slow"},
    "Upload": {"upload"},
    "Stream": {"stream"},
    "SlowClient": {"slow upload", "slow download"},
    "Journey": {"read", "page on", "sign"},
}
LAB = pytest.mark.stack_env(LAB_ENABLED="1", LIMITS="off", WAF_MODE="Off")


def visit(generators: GeneratorProcess, url: str, scenario: str, seconds: float = 1.0) -> Generated:
    """Let about ten visitors a second arrive, and do what they came for to the end."""
    step = StepOrder(rate_per_s=10.0, warm_up_s=0, measure_s=seconds, patience_s=60)
    return generators.visit(Order(url=url, mix=(("", scenario, 1.0),))).step(step)


@LAB
@pytest.mark.runtimes("local")
@pytest.mark.parametrize("scenario", REQUESTS)
def test_a_scenario_gets_what_it_asks_for(stack: Stack, generators: GeneratorProcess, scenario: str) -> None:
    recording = visit(generators, stack.url, scenario).recording

    assert recording.errors == {}
    assert recording.series.keys() <= REQUESTS[scenario]
    assert recording.all.latency.count > 0


@pytest.fixture(scope="module")
def wrong_server() -> Iterator[str]:
    """Answers everything with status 200 and a body that no scenario asked for."""
    with running(NEVER) as url:
        yield url


@pytest.mark.parametrize("scenario", REQUESTS)
def test_a_scenario_refuses_a_wrong_answer(wrong_server: str, generators: GeneratorProcess, scenario: str) -> None:
    recording = visit(generators, wrong_server + "/record?", scenario, seconds=0.6).recording

    assert recording.all.latency.count == 0
    assert sum(recording.errors.values()) > 0
