"""What a flood of 10,000 requests costs: the others' waiting, and the server's CPU time (`make flood`; figures in docs/limits.md)."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import pytest

from stack import Stack
from tests.clients import Reply, Session, percentile_ms, steady
from tests.limits.flooder import flooding
from tests.limits.servers import PROXIES, cpu_s, family
from tests.surgery import gateway_url

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600), pytest.mark.stack_env(LAB_ENABLED="1", TRUSTED_PROXIES=PROXIES)]

FLOOD, PER_S = 10_000, 500
CLIENT = "198.51.100.1"
VISITORS, EACH_PER_S = 8, 10
ROUNDS = 2
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


def visit(url: str, seconds: float) -> list[Reply]:
    """Let VISITORS ask at their pace, each from its own address."""

    def one(number: int) -> list[Reply]:
        headers = {"X-Forwarded-For": f"203.0.113.{number}"}
        return steady(url, FLOODED, requests=int(seconds * EACH_PER_S), per_second=EACH_PER_S, keep_alive=True, headers=headers)

    with ThreadPoolExecutor(VISITORS) as pool:
        return list(chain.from_iterable(pool.map(one, range(1, VISITORS + 1))))


def test_how_much_the_others_notice(stack: Stack, note: Callable[[str], None]) -> None:
    """Their p99 beside the flood against their p99 alone, half of which is measured before and half after."""
    url = gateway_url(stack)
    visit(url, 2)
    rounds = []
    for _ in range(ROUNDS):
        alone = visit(url, FLOOD / PER_S / 2)
        with flooding(url, FLOODED, CLIENT, requests=FLOOD, per_second=PER_S) as flood:
            beside = visit(url, FLOOD / PER_S)
            statuses = flood.result()
        alone += visit(url, FLOOD / PER_S / 2)
        assert [reply for reply in (*alone, *beside) if reply.failed] == []
        assert set(statuses) <= {200, 429}
        assert statuses.total() == FLOOD
        figures = {percent: (percentile_ms(alone, percent), percentile_ms(beside, percent)) for percent in (50, 99)}
        rounds.append({"statuses": statuses, "ms_alone_beside": figures})
        shown = ", ".join(f"p{percent} {a:.1f} ms alone, {b:.1f} ms beside: {b / a:.2f}" for percent, (a, b) in figures.items())
        note(f"flood of {FLOOD}, {PER_S} a second ({stack.runtime}): {statuses[429]} refused; the others: {shown}")
    ARTIFACTS.mkdir(exist_ok=True)
    (ARTIFACTS / f"flood-{stack.runtime}.json").write_text(json.dumps(rounds, indent=2))


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
