"""What a flood of 10,000 requests costs: the others' waiting, and the server's CPU time (`make flood`; figures in docs/limits.md)."""

import json
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pytest

from loadtest.measure.generation import GeneratorProcess
from loadtest.measure.order import Order, StepOrder
from loadtest.records.histogram import Histogram
from tests.clients import Session
from tests.limits.flooder import flooding
from tests.limits.servers import PROXIES, cpu_s, family
from tests.surgery import gateway_url
from tools.reliability.measure.stacks import keep_apart
from tools.stack import Stack
from tools.stack.compose import ComposeStack
from tools.stack.machine import processors_apart

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600), pytest.mark.stack_env(LAB_ENABLED="1", TRUSTED_PROXIES=PROXIES)]

FLOOD, PER_S = 10_000, 500
CLIENT = "198.51.100.1"
VISITORS = (str(Path(__file__).with_name("visitors.py")), "Visitor", 1.0)
VISITS_PER_S = 40  # well below what one processor carries: near it, any work at all doubles a p99
WARM_UP_S = 1.0
ROUNDS = 5
# What is wanted of the others' p99 beside the flood, against their own.
NOTICED = 1.5
ARTIFACTS = Path(__file__).parents[1] / "artifacts"
# Requests that are let through, from the cheapest that asks the application on.
FLOODED = "/lab/json"
ACCEPTED = {
    f"GET {FLOODED}": ("GET", FLOODED, b""),
    "GET / (a page with a query of the database)": ("GET", "/", b""),
    "POST /api/v1/entries (small JSON)": ("POST", "/api/v1/entries", b'{"name": "Anna", "message": "A lovely evening"}'),
}
SENT = 400
# CPU time of a refused request against an accepted one, at most.
REFUSED_SHARE = 0.05


def on_processors_of_its_own(stack: Stack) -> list[int]:
    """Keep the site off the clients' processor, and return that one; [] on a machine that has only one."""
    if isinstance(stack, ComposeStack):
        return keep_apart(stack)
    site, clients = processors_apart()
    for service in {unit.service for unit in stack.processes()} if clients else ():
        for process in family(stack, service):
            process.cpu_affinity(site)
    return clients


class Visitors:
    """The others: an open model, whose latency counts from the moment when each request was due."""

    def __init__(self, generators: GeneratorProcess) -> None:
        self._generators = generators
        self._steps = 0

    def come(self, seconds: float) -> Histogram:
        """Let them come for so long, and return their latencies; each must get what it asked for."""
        self._steps += 1
        seen = self._generators.step(StepOrder(rate_per_s=VISITS_PER_S, seed=self._steps, warm_up_s=WARM_UP_S, measure_s=seconds)).recording
        assert (seen.errors, seen.dropped, seen.unfinished) == ({}, 0, 0)
        return seen.all.latency


def test_how_much_the_others_notice(stack: Stack, note: Callable[[str], None]) -> None:
    """Their p99 beside the flood against their p99 alone, of which half is measured before and half after.

    The median round decides: a stall of the machine that strikes some ten requests is a p99.
    """
    url = gateway_url(stack)
    clients = on_processors_of_its_own(stack)
    beside_s = FLOOD / PER_S - 2 * WARM_UP_S  # the flood begins before them and ends after them
    rounds: list[tuple[Histogram, Histogram]] = []
    with GeneratorProcess() as generators:
        visitors = Visitors(generators.visit(Order(url=url, mix=(VISITORS,), cpus=tuple(clients))))
        visitors.come(2)
        for _ in range(ROUNDS):
            before = visitors.come(beside_s / 2)
            with flooding(url, FLOODED, CLIENT, requests=FLOOD, per_second=PER_S, cpus=clients) as flood:
                beside = visitors.come(beside_s)
                assert not flood.done(), "the flood was over before its effect was measured"
                statuses = flood.result()
            alone = Histogram.merged([before, visitors.come(beside_s / 2)])
            assert set(statuses) <= {200, 429}
            assert statuses.total() == FLOOD
            note(f"flood of {FLOOD}, {PER_S} a second ({stack.runtime}): {statuses[429]} refused; the others: {shown(alone, beside)}")
            rounds.append((alone, beside))
    ratio = median(beside.quantile_ms(0.99) / alone.quantile_ms(0.99) for alone, beside in rounds)
    note(f"the median of {ROUNDS} rounds ({stack.runtime}): p99 {ratio:.2f} times its own")
    ARTIFACTS.mkdir(exist_ok=True)
    files = [{"alone": one.encode(), "beside": other.encode()} for one, other in rounds]
    (ARTIFACTS / f"flood-{stack.runtime}.json").write_text(json.dumps(files, indent=2))
    assert ratio <= NOTICED


def shown(alone: Histogram, beside: Histogram) -> str:
    """Say what the flood did to the median and to the p99."""
    parts = []
    for name, quantile in (("p50", 0.5), ("p99", 0.99)):
        own, other = alone.quantile_ms(quantile), beside.quantile_ms(quantile)
        parts.append(f"{name} {own:.1f} ms alone, {other:.1f} ms beside: {other / own:.2f}")
    return ", ".join(parts)


def test_what_a_refusal_costs(stack: Stack, note: Callable[[str], None]) -> None:
    """CPU time of nginx and gunicorn for a refused request, against accepted ones; the database's is left out."""
    accepted = {name: accepted_ms(stack, *request) for name, request in ACCEPTED.items()}
    both = [*family(stack, "gateway"), *family(stack, "app")]
    before = cpu_s(both)
    with flooding(gateway_url(stack), FLOODED, CLIENT, requests=FLOOD, per_second=2 * PER_S) as flood:
        statuses = flood.result()
    spent_ms = 1000 * (cpu_s(both) - before)
    assert statuses[429] > 0.9 * FLOOD
    # What is within the budget passes, and cost as much as any other.
    refused = (spent_ms - statuses[200] * sum(accepted[f"GET {FLOODED}"])) / statuses[429]
    note(f"a refused request ({stack.runtime}): {refused:.3f} ms of CPU, {statuses[429]} of {FLOOD}")
    shares = {name: refused / (nginx + app) for name, (nginx, app) in accepted.items()}
    for name, (nginx, app) in accepted.items():
        note(f"against {name}: {nginx:.2f} ms in nginx + {app:.2f} ms in gunicorn: {100 * shares[name]:.1f} %")
    assert max(shares.values()) < REFUSED_SHARE


def accepted_ms(stack: Stack, method: str, path: str, body: bytes) -> tuple[float, float]:
    """CPU time of nginx and of gunicorn for one request of SENT, each of another client, so that all are let through."""
    nginx, app = family(stack, "gateway"), family(stack, "app")
    before = cpu_s(nginx), cpu_s(app)
    with Session(gateway_url(stack), keep_alive=True) as session:
        for number in range(SENT):
            headers = {"X-Forwarded-For": f"203.0.{number // 250}.{number % 250 + 1}", "Content-Type": "application/json"}
            reply = session.send(method, path, body=body or None, headers=headers)
            assert reply.status not in {None, 403, 429}, reply
    return 1000 * (cpu_s(nginx) - before[0]) / SENT, 1000 * (cpu_s(app) - before[1]) / SENT
