"""One client floods the site: it is refused with 429, at once, and the others lose no request.

A busy machine changes none of what is insisted on here; what it costs the others is in test_flood_figures.py (`make flood`).
"""

import math
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import pytest

from tests.clients import Background, Reply, Session, wait_until
from tests.gateways import Gateways
from tests.nginx.backends import RawBackend, answer
from tests.nginx.gateway import Gateway
from tools.local.nginx import Edit

# So slow that what passes is the burst and one, and one more for each minute that the test takes.
ONE_A_MINUTE = Edit("templates/30-limits.conf.template", r"rate=\S+r/s", "rate=1r/m")
# The test's own address is the load balancer, so that each client can be given one.
BURST = 40
SETTINGS = {"TRUSTED_PROXIES": "127.0.0.1", "LIMIT_BURST": str(BURST)}
FLOOD = 600
OTHERS = [f"203.0.113.{number}" for number in range(1, 11)]
# Within the burst of each, so that none of these is over the limit however fast they are sent.
EACH = 30


@pytest.fixture
def backend() -> Iterator[RawBackend]:
    with RawBackend(answer) as backend:
        yield backend


def ask(session: Session, client: str) -> Reply:
    return session.send("GET", "/", headers={"X-Forwarded-For": client})


def flood(gateway: Gateway) -> tuple[list[Reply], list[Reply]]:
    """Let one client send FLOOD requests or more, and others EACH in the middle of it; return the replies of both."""
    others = []
    with ExitStack() as exits:
        sessions = [exits.enter_context(Session(gateway.url, keep_alive=True)) for _ in range(3)]
        flooding = [exits.enter_context(Background(partial(ask, it, "198.51.100.1"), pause_s=0)) for it in sessions]
        wait_until(lambda: sum(len(one.replies) for one in flooding) > 2 * BURST, "the flood is over its budget")
        for client in OTHERS:
            with Session(gateway.url, keep_alive=True) as session:
                others += [ask(session, client) for _ in range(EACH)]
        wait_until(lambda: sum(len(one.replies) for one in flooding) >= FLOOD, f"{FLOOD} requests were sent", timeout_s=120)
    return [reply for one in flooding for reply in one.replies], others


def test_flood_is_refused_and_the_others_lose_no_request(start_gateway: Gateways, backend: RawBackend) -> None:
    gateway = start_gateway(backend.address, {**SETTINGS, "LIMITS": "on"}, [ONE_A_MINUTE])
    began = time.monotonic()
    flooding, others = flood(gateway)
    minutes = math.ceil((time.monotonic() - began) / 60)

    statuses = Counter(reply.status for reply in flooding)
    assert set(statuses) == {200, 429}
    assert BURST < statuses[200] <= BURST + 1 + minutes
    assert statuses[429] >= FLOOD - BURST - 1 - minutes
    assert [reply for reply in others if reply.status != 200] == []
    assert len(others) == EACH * len(OTHERS)
    # What was refused never reached the application.
    assert len(backend.seen) == statuses[200] + len(others)


def test_without_limits_the_whole_flood_reaches_the_app(start_gateway: Gateways, backend: RawBackend) -> None:
    """The twin: nothing else stands between one client and the workers."""
    gateway = start_gateway(backend.address, {**SETTINGS, "LIMITS": "off"}, [ONE_A_MINUTE])
    flooding, others = flood(gateway)

    assert {reply.status for reply in flooding} == {200}
    assert {reply.status for reply in others} == {200}
    assert len(backend.seen) == len(flooding) + len(others)
