"""More requests than may be in flight: what comes on top is refused at once, and of nobody."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from socket import socket
from threading import Event

import pytest

from tests.clients import wait_until
from tests.nginx.backends import RawBackend, Seen, answer
from tests.nginx.conftest import Gateways
from tests.nginx.gateway import Answer, Gateway
from tests.sites import Sites
from tools.local.nginx import Edit

BOUND = 6
JSON = "Accept: application/json"


@dataclass
class Busy:
    """A backend that answers at once, except what asks for /held: that waits for `over` (a minute at most)."""

    over: Event = field(default_factory=Event)

    def behave(self, connection: socket, seen: Seen) -> None:
        if seen.target.startswith("/held"):
            self.over.wait(60)
        answer(connection, seen)


@pytest.fixture
def busy() -> Iterator[Busy]:
    busy = Busy()
    yield busy
    busy.over.set()


@pytest.fixture
def backend(busy: Busy) -> Iterator[RawBackend]:
    with RawBackend(busy.behave) as backend:
        yield backend


@pytest.fixture(params=["start_gateway", "start_site"])
def start(request: pytest.FixtureRequest, runtime: str) -> Gateways | Sites:
    """The gateway in front of the app, and in front of the WAF, which must not be asked about what is refused."""
    assert runtime
    starting: Gateways | Sites = request.getfixturevalue(request.param)
    return starting


def bounded(start_gateway: Gateways | Sites, backends: list[RawBackend], *edits: Edit, bound: str = str(BOUND)) -> Gateway:
    """Start a gateway that lets so many in, with two processes that must count together."""
    env = {"MAX_IN_FLIGHT": bound, "NGINX_WORKER_PROCESSES": "2"}
    return start_gateway([backend.address for backend in backends], env, edits)


@contextmanager
def held(gateway: Gateway, busy: Busy, backends: list[RawBackend], count: int = BOUND) -> Iterator[list[Answer]]:
    """Have `count` requests in flight while the block runs; afterwards the list holds their answers."""
    answers: list[Answer] = []
    with ThreadPoolExecutor(count) as pool:
        asked = [pool.submit(gateway.get, f"/held/{number}") for number in range(count)]
        try:
            wait_until(lambda: sum(len(backend.seen) for backend in backends) >= count, f"{count} requests are in flight")
            yield answers
        finally:
            busy.over.set()
        answers += [one.result() for one in asked]


def test_what_comes_on_top_is_refused_without_asking_anybody(start: Gateways | Sites, busy: Busy, backend: RawBackend) -> None:
    gateway = bounded(start, [backend])
    with held(gateway, busy, [backend]) as answers:
        refused = [gateway.request(method, "/refused", JSON) for method in ("GET", "POST", "PATCH", "PUT", "DELETE") for _ in range(2)]

    assert {(reply.status, *reply.values("Retry-After"), *reply.values("Content-Type")) for reply in refused} == {
        (503, "5", "application/problem+json")
    }
    assert all(reply.json()["request_id"] == reply.values("X-Request-ID")[0] for reply in refused)
    assert {reply.status for reply in answers} == {200}
    assert gateway.get("/after").status == 200
    assert "/refused" not in {seen.target for seen in backend.seen}


def test_without_the_bound_nobody_is_refused_and_all_wait(start: Gateways | Sites, busy: Busy, backend: RawBackend) -> None:
    """The twin."""
    with held(bounded(start, [backend], bound="0"), busy, [backend], 3 * BOUND) as answers:
        assert len(backend.seen) == 3 * BOUND

    assert {reply.status for reply in answers} == {200}


def test_a_slow_sender_takes_no_place(start: Gateways | Sites, backend: RawBackend) -> None:
    gateway = bounded(start, [backend])
    with ExitStack() as exits:
        for _ in range(3 * BOUND):
            slow = exits.enter_context(closing(gateway.connect()))
            slow.sendall(b"POST /slow HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")

        assert {gateway.get("/").status for _ in range(3 * BOUND)} == {200}


def held_by_who_has_gone(gateway: Gateway, backend: RawBackend) -> None:
    """Send as many requests as may be in flight, and hang up before the answer."""
    with ExitStack() as exits:
        for number in range(BOUND):
            client = exits.enter_context(closing(gateway.connect()))
            client.sendall(f"GET /held/{number} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        wait_until(lambda: len(backend.seen) >= BOUND, "all are in flight")
        assert gateway.get("/refused").status == 503


def test_who_has_gone_gives_the_place_back(start: Gateways | Sites, backend: RawBackend) -> None:
    gateway = bounded(start, [backend])
    held_by_who_has_gone(gateway, backend)

    wait_until(lambda: gateway.get("/next").status == 200, "there is a place again")


def test_who_has_gone_would_keep_it_if_nginx_did_not_look(start_gateway: Gateways, backend: RawBackend) -> None:
    """The twin."""
    ignored = Edit("templates/snippets/proxy.conf.template", r"^proxy_redirect off;", "proxy_redirect off;\nproxy_ignore_client_abort on;")
    gateway = bounded(start_gateway, [backend], ignored)
    held_by_who_has_gone(gateway, backend)

    assert {gateway.get("/next").status for _ in range(20)} == {503}


def test_a_refusal_is_no_failure_of_a_server(start_gateway: Gateways, busy: Busy) -> None:
    """With one set of servers and a long fail_timeout, so that a server that was taken out would stay out."""
    edits = [
        Edit("templates/upstream/app.conf.template", r"^ *server .* backup;$", ""),
        Edit("templates/upstream/app.conf.template", r"fail_timeout=5s", "fail_timeout=60s"),
    ]
    with RawBackend(busy.behave) as one, RawBackend(busy.behave) as other:
        gateway = bounded(start_gateway, [one, other], *edits)
        with held(gateway, busy, [one, other], count=4):
            assert {gateway.get("/refused").status for _ in range(20)} == {503}
        before = len(one.seen), len(other.seen)

        assert {gateway.get("/after").status for _ in range(20)} == {200}
        assert len(one.seen) > before[0]
        assert len(other.seen) > before[1]
