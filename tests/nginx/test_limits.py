"""How much one client may ask, who counts as one client, and that LIMITS=off lifts it.

The rates are cut to one a minute, so that what passes is exactly the burst and one, however slow this machine is.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from selectors import EVENT_READ, DefaultSelector
from threading import Event

import pytest

from tests.clients import wait_until
from tests.nginx.backends import RawBackend, answer_after
from tests.nginx.conftest import Gateways
from tests.nginx.gateway import Gateway
from tools.local.nginx import Edit

ONE_A_MINUTE = Edit("templates/30-limits.conf.template", r"rate=\S+r/s", "rate=1r/m")
BURST, WRITE_BURST, CONNECTIONS = 40, 20, 50
SETTINGS = {"LIMITS": "on", "TRUSTED_PROXIES": "127.0.0.1", "LIMIT_BURST": str(BURST)}


@pytest.fixture
def limited(start_gateway: Gateways, echo_backend: str) -> Gateway:
    return start_gateway(echo_backend, SETTINGS, [ONE_A_MINUTE])


def ask(gateway: Gateway, times: int, *, client: str, method: str = "GET", path: str = "/") -> Counter[int]:
    """Count the statuses of some requests of one client."""
    return Counter(gateway.request(method, path, f"X-Forwarded-For: {client}").status for _ in range(times))


def test_requests_over_the_limit_get_429(limited: Gateway) -> None:
    assert ask(limited, BURST + 5, client="203.0.113.1") == {200: BURST + 1, 429: 4}
    assert ask(limited, 1, client="203.0.113.2") == {200: 1}


def test_429_says_when_to_come_back(limited: Gateway) -> None:
    ask(limited, BURST + 1, client="203.0.113.1")
    reply = limited.get("/api/entries", "X-Forwarded-For: 203.0.113.1", "X-Request-ID: too-many-1")

    assert reply.status == 429
    assert reply.values("Retry-After") == ["1"]
    assert reply.json()["request_id"] == "too-many-1"
    assert (limited.logged("too-many-1")["limit_requests"], limited.logged("too-many-1")["upstream"]) == ("REJECTED", "")


@pytest.mark.parametrize(("edits", "more"), [([], 0), ([Edit("templates/30-limits.conf.template", r"limit_req_log_level .*", "")], 3)])
def test_a_refusal_is_one_line_of_the_log(start_gateway: Gateways, echo_backend: str, edits: list[Edit], more: int) -> None:
    """By default nginx writes a second one, as an error (the twin)."""
    gateway = start_gateway(echo_backend, SETTINGS, [ONE_A_MINUTE, *edits])
    assert ask(gateway, BURST + 4, client="203.0.113.1")[429] == 3
    wait_until(lambda: len(gateway.access_log()) == BURST + 4, "all are logged")
    gateway.stop()

    assert gateway.error_log().count("limiting requests") == more


def test_limits_can_be_lifted(start_gateway: Gateways, echo_backend: str) -> None:
    """The twin, and what load tests need."""
    gateway = start_gateway(echo_backend, {**SETTINGS, "LIMITS": "off"}, [ONE_A_MINUTE])

    assert ask(gateway, BURST + 5, client="203.0.113.1") == {200: BURST + 5}
    assert ask(gateway, WRITE_BURST + 5, client="203.0.113.1", method="POST") == {200: WRITE_BURST + 5}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_writing_has_a_smaller_budget(limited: Gateway, method: str) -> None:
    assert ask(limited, WRITE_BURST + 3, client="203.0.113.1", method=method) == {200: WRITE_BURST + 1, 429: 2}
    assert ask(limited, 1, client="203.0.113.1") == {200: 1}


def test_files_are_not_counted(limited: Gateway) -> None:
    (limited.folder / "static" / "app.css").write_text("body{}")
    ask(limited, BURST + 1, client="203.0.113.1")

    assert ask(limited, 5, client="203.0.113.1", path="/static/app.css") == {200: 5}


def test_addresses_without_a_file_are_counted(limited: Gateway) -> None:
    """They reach the app, so /static/ is no way around the limit."""
    assert ask(limited, BURST + 3, client="203.0.113.1", path="/static/missing") == {200: BURST + 1, 429: 2}


def test_ipv6_client_is_a_64_network(limited: Gateway) -> None:
    # The second address has the bytes of a newline in it: no byte is special.
    ask(limited, BURST + 1, client="2001:db8:0a0a:1::1")

    assert ask(limited, 1, client="2001:db8:0a0a:1:a0a:ffff:0:a0a") == {429: 1}
    assert ask(limited, 1, client="2001:db8:0a0a:2::1") == {200: 1}


def test_forged_address_is_no_new_client(start_gateway: Gateways, echo_backend: str) -> None:
    """Without TRUSTED_PROXIES the header is not read."""
    gateway = start_gateway(echo_backend, {"LIMITS": "on", "LIMIT_BURST": str(BURST)}, [ONE_A_MINUTE])
    statuses = Counter(gateway.get("/", f"X-Forwarded-For: 203.0.113.{number}").status for number in range(BURST + 3))

    assert statuses == {200: BURST + 1, 429: 2}


# --- Connections


@pytest.fixture
def patient_backend() -> Iterator[RawBackend]:
    """A backend that answers when the test is over."""
    over = Event()
    with ExitStack() as exits:
        backend = exits.enter_context(RawBackend(answer_after(over)))
        exits.callback(over.set)
        yield backend


def answered_now(gateway: Gateway, backend: RawBackend, total: int, refused: int) -> int:
    """Send `total` requests at once; return how many were answered while the rest waits for the backend."""
    with ExitStack() as exits, DefaultSelector() as selector:
        for _ in range(total):
            connection = exits.enter_context(gateway.connect())
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            selector.register(connection, EVENT_READ)
        wait_until(lambda: len(backend.seen) >= total - refused, f"the backend has {total - refused} requests")
        wait_until(lambda: len(selector.select(0)) >= refused, f"{refused} requests are refused")
        return len(selector.select(0))


def test_client_has_50_requests_in_flight_at_most(start_gateway: Gateways, patient_backend: RawBackend) -> None:
    all_at_once = Edit(
        "templates/snippets/proxy.conf.template", r"burst=\S+", "burst=9999"
    )  # nginx takes them all in within one millisecond
    gateway = start_gateway(patient_backend.address, {"LIMITS": "on"}, [all_at_once])

    assert answered_now(gateway, patient_backend, CONNECTIONS + 5, refused=5) == 5
    assert len(patient_backend.seen) == CONNECTIONS


def test_without_limits_it_has_as_many_as_it_likes(start_gateway: Gateways, patient_backend: RawBackend) -> None:
    gateway = start_gateway(patient_backend.address, {"LIMITS": "off"})

    assert answered_now(gateway, patient_backend, CONNECTIONS + 5, refused=0) == 0
    assert len(patient_backend.seen) == CONNECTIONS + 5
