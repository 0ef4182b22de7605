"""What nginx does when a backend fails: what it may ask a second time, and that a blip is no outage."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from socket import socket
from threading import Event

import pytest

from tests.clients import wait_until
from tests.nginx.backends import RawBackend, Refusing, Seen, answer, answer_after, hang_up
from tests.nginx.conftest import Gateways
from tests.nginx.gateway import Gateway
from tools.local.nginx import Edit

IDEMPOTENT = ("GET", "HEAD", "OPTIONS", "PUT", "DELETE")
NOT_IDEMPOTENT = ("POST", "PATCH", "LOCK")
NO_SECOND_SET = Edit("templates/upstream/app.conf.template", r"^ *server .* backup;$", "")


def targets(*backends: RawBackend) -> Counter[str]:
    """How often each target arrived, at whichever backend."""
    return Counter(seen.target for backend in backends for seen in backend.seen)


# --- Requests that arrived and were not answered


@pytest.fixture
def silent_pair() -> Iterator[tuple[RawBackend, RawBackend]]:
    """Two backends that read each request and hang up: nobody knows whether it was carried out."""
    with RawBackend(hang_up) as one, RawBackend(hang_up) as other:
        yield one, other


@pytest.mark.parametrize("method", NOT_IDEMPOTENT)
def test_request_that_may_have_been_carried_out_is_never_repeated(
    start_gateway: Gateways, silent_pair: tuple[RawBackend, RawBackend], method: str
) -> None:
    gateway = start_gateway([backend.address for backend in silent_pair])
    sent = [f"/{number}" for number in range(8)]

    assert [gateway.request(method, target, body=b"x" * 20).status for target in sent] == [502] * len(sent)
    assert targets(*silent_pair) == Counter(sent)


def test_large_body_is_never_repeated_either(start_gateway: Gateways, silent_pair: tuple[RawBackend, RawBackend]) -> None:
    """It comes from a temp file, another way through nginx."""
    gateway = start_gateway([backend.address for backend in silent_pair])

    assert gateway.request("POST", "/large", body=b"x" * 500_000).status == 502
    assert targets(*silent_pair) == Counter(["/large"])


def test_post_would_be_repeated_with_non_idempotent(start_gateway: Gateways, silent_pair: tuple[RawBackend, RawBackend]) -> None:
    """The twin: the word that must never stand in this configuration."""
    edit = Edit("conf.d/45-retries.conf", r"proxy_next_upstream error timeout;", "proxy_next_upstream error timeout non_idempotent;")
    start_gateway([backend.address for backend in silent_pair], edits=[edit]).request("POST", "/twice", body=b"x")

    assert targets(*silent_pair)["/twice"] > 1


@pytest.mark.parametrize("method", IDEMPOTENT)
def test_idempotent_request_is_repeated(start_gateway: Gateways, method: str) -> None:
    """By RFC 9110, 9.2.2: to carry it out twice has the effect of once, and the visitor sees no error."""
    with RawBackend(hang_up) as broken, RawBackend(answer) as sound:
        gateway = start_gateway([broken.address, sound.address])
        statuses = [gateway.request(method, f"/{number}").status for number in range(6)]

    assert statuses == [200] * 6
    assert broken.seen


def test_no_request_meets_more_than_five_servers(start_gateway: Gateways) -> None:
    """A request that kills its worker does not visit every container."""
    with ExitStack() as exits:
        backends = [exits.enter_context(RawBackend(hang_up)) for _ in range(6)]
        assert start_gateway([backend.address for backend in backends]).get("/poison").status == 502

    assert targets(*backends) == Counter({"/poison": 5})


# --- Requests that never arrived


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "PUT"])
def test_refused_connection_is_tried_elsewhere(start_gateway: Gateways, method: str) -> None:
    with Refusing() as refusing, RawBackend(answer) as sound:
        gateway = start_gateway([refusing.address, sound.address])
        statuses = [gateway.request(method, f"/{number}", f"X-Request-ID: refused-{number}").status for number in range(6)]
        tries = [gateway.logged(f"refused-{number}")["upstream"] for number in range(6)]

    assert statuses == [200] * 6
    assert any(refusing.address in addresses for addresses in tries)
    assert len(sound.seen) == 6


def test_server_that_does_not_even_refuse_is_tried_elsewhere(start_gateway: Gateways) -> None:
    """A container that vanished: its address (here one that is kept for documentation) answers nothing."""
    edit = Edit("templates/upstream/app.conf.template", r"^proxy_connect_timeout 2s;", "proxy_connect_timeout 200ms;")
    with RawBackend(answer) as sound:
        gateway = start_gateway(["192.0.2.1:8000", sound.address], edits=[edit])
        statuses = [gateway.request("POST", f"/{number}", body=b"x").status for number in range(6)]

    assert statuses == [200] * 6
    assert len(sound.seen) == 6


def test_refused_connection_would_be_an_error_without_retries(start_gateway: Gateways) -> None:
    """The twin."""
    edit = Edit("conf.d/45-retries.conf", r"proxy_next_upstream error timeout;", "proxy_next_upstream off;")
    with Refusing() as refusing, RawBackend(answer) as sound:
        gateway = start_gateway([refusing.address, sound.address], edits=[edit])
        statuses = {gateway.request("POST", f"/{number}", body=b"x").status for number in range(6)}

    assert statuses == {200, 502}


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_four_of_six_may_leave_at_once(start_gateway: Gateways, method: str) -> None:
    """As `--scale app=6` followed by `--scale app=2` does."""
    with ExitStack() as exits:
        gone = [exits.enter_context(Refusing()).address for _ in range(4)]
        stay = [exits.enter_context(RawBackend(answer)) for _ in range(2)]
        gateway = start_gateway([*gone, *(backend.address for backend in stay)])
        statuses = [gateway.request(method, f"/{number}").status for number in range(30)]

    assert statuses == [200] * 30
    assert sum(len(backend.seen) for backend in stay) == 30


def test_three_could_not_with_two_tries(start_gateway: Gateways) -> None:
    """The twin: why there are five tries."""
    edit = Edit("conf.d/45-retries.conf", r"proxy_next_upstream_tries 5;", "proxy_next_upstream_tries 2;")
    with ExitStack() as exits:
        gone = [exits.enter_context(Refusing()).address for _ in range(3)]
        stay = exits.enter_context(RawBackend(answer))
        gateway = start_gateway([*gone, stay.address], edits=[edit])
        statuses = {gateway.get(f"/{number}").status for number in range(6)}

    assert 502 in statuses


# --- Slow answers


@pytest.fixture
def stuck_pair() -> Iterator[tuple[RawBackend, RawBackend]]:
    """Two backends that read a request and then say nothing while the test runs."""
    over = Event()
    with ExitStack() as exits:
        one, other = (exits.enter_context(RawBackend(answer_after(over))) for _ in range(2))
        exits.callback(over.set)
        yield one, other


def test_slow_request_is_not_run_twice(start_gateway: Gateways, stuck_pair: tuple[RawBackend, RawBackend]) -> None:
    """Times shortened, in the kit's order: a read timeout takes longer than the time in which a new try may begin."""
    edits = [
        Edit("templates/upstream/app.conf.template", r"^proxy_read_timeout .*", "proxy_read_timeout 900ms;"),
        Edit("conf.d/45-retries.conf", r"proxy_next_upstream_timeout 5s;", "proxy_next_upstream_timeout 300ms;"),
    ]
    gateway = start_gateway([backend.address for backend in stuck_pair], edits=edits)

    assert gateway.get("/slow").status == 504
    assert targets(*stuck_pair) == Counter(["/slow"])


def test_slow_request_would_be_run_twice_with_more_time(start_gateway: Gateways, stuck_pair: tuple[RawBackend, RawBackend]) -> None:
    """The twin: with more time for tries than one try takes."""
    edit = Edit("templates/upstream/app.conf.template", r"^proxy_read_timeout .*", "proxy_read_timeout 300ms;")
    gateway = start_gateway([backend.address for backend in stuck_pair], edits=[edit])

    assert gateway.get("/slow").status == 504
    assert targets(*stuck_pair)["/slow"] > 1


# --- A blip


@dataclass(slots=True)
class Blip:
    """While it lasts, requests are read and the connection is closed; afterwards they are answered."""

    over: bool = False
    backends: list[RawBackend] = field(default_factory=list)

    def behave(self, connection: socket, seen: Seen) -> None:
        (answer if self.over else hang_up)(connection, seen)


@pytest.fixture
def blip() -> Iterator[Blip]:
    blip = Blip()
    with ExitStack() as exits:
        blip.backends = [exits.enter_context(RawBackend(blip.behave)) for _ in range(2)]
        yield blip


def after_a_blip(gateway: Gateway, blip: Blip) -> Counter[int]:
    """Let 20 requests fail, end the blip, and count the statuses of 20 more. 503: nobody was asked."""
    assert {gateway.request("POST", "/", body=b"x").status for _ in range(20)} <= {502, 503}
    blip.over = True
    return Counter(gateway.request("POST", "/", body=b"x").status for _ in range(20))


def test_blip_of_all_servers_is_no_outage(start_gateway: Gateways, blip: Blip) -> None:
    gateway = start_gateway([backend.address for backend in blip.backends])

    assert after_a_blip(gateway, blip) == {200: 20}
    gateway.stop()
    assert "no live upstreams" not in gateway.error_log()


def test_blip_would_be_an_outage_with_one_set_of_servers(start_gateway: Gateways, blip: Blip) -> None:
    """The twin. fail_timeout is longer, so that this machine cannot be too slow to see it."""
    edits = [NO_SECOND_SET, Edit("templates/upstream/app.conf.template", r"fail_timeout=5s", "fail_timeout=60s")]
    gateway = start_gateway([backend.address for backend in blip.backends], edits=edits)

    assert after_a_blip(gateway, blip) == {503: 20}
    wait_until(lambda: "no live upstreams" in gateway.error_log(), "nginx says why")


def test_single_failure_each_would_be_an_outage_with_nginx_defaults(start_gateway: Gateways, blip: Blip) -> None:
    """Another twin: max_fails=1."""
    edits = [NO_SECOND_SET, Edit("templates/upstream/app.conf.template", r"max_fails=3 fail_timeout=5s", "fail_timeout=60s")]
    gateway = start_gateway([backend.address for backend in blip.backends], edits=edits)
    for _ in blip.backends:
        gateway.request("POST", "/", body=b"x")
    blip.over = True

    assert gateway.request("POST", "/", body=b"x").status == 503


def test_all_servers_may_leave_and_come_back(start_gateway: Gateways) -> None:
    """As in a release that is in a hurry: refused connections count as failures, and yet nobody is taken for dead."""
    with Refusing() as one, Refusing() as other:
        gateway = start_gateway([one.address, other.address])
        assert {gateway.request("POST", "/", f"X-Request-ID: leaving-{number}", body=b"x").status for number in range(20)} == {502}

    # Whoever is not asked any more stands in the log as "app", the name of the group.
    assert {gateway.logged(f"leaving-{number}")["upstream"].split(",")[0] for number in range(20)} == {one.address, other.address}


def test_single_server_is_asked_again_at_once(start_gateway: Gateways, blip: Blip) -> None:
    gateway = start_gateway(blip.backends[0].address)

    assert after_a_blip(gateway, blip) == {200: 20}


def test_failed_server_is_left_alone_for_a_while(start_gateway: Gateways) -> None:
    """What max_fails is for: with a longer fail_timeout, so that this machine cannot be too slow to see it."""
    with RawBackend(hang_up) as broken, RawBackend(answer) as sound:
        edit = Edit("templates/upstream/app.conf.template", r"fail_timeout=5s", "fail_timeout=60s")
        gateway = start_gateway([broken.address, sound.address], edits=[edit])
        assert {gateway.get(f"/{number}").status for number in range(30)} == {200}

    assert len(broken.seen) == 3
