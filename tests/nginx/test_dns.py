"""Servers found by DNS, with a DNS server of the test's own: what becomes of a request when the list is replaced while it waits."""

import socket
import socketserver
import struct
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Self

import pytest

from tests.clients import wait_until
from tests.nginx.backends import InThread, RawBackend, answer, hang_up
from tests.nginx.conftest import Gateways
from tests.nginx.gateway import Answer, Gateway
from tests.sites import Sites
from tools.local.nginx import Edit

# Older versions than the image's do not look a name up a second time.
pytestmark = pytest.mark.runtimes("compose")

# Longer than a list is valid (2 s), so that the new one is there when the old server is given up.
PATIENT = Edit("templates/upstream/app.conf.template", r"^proxy_connect_timeout 2s;", "proxy_connect_timeout 4s;")
NEVER_AGAIN = Edit("conf.d/45-retries.conf", r"@upstream;$", "@failed;")
ONLY_ONCE = Edit("conf.d/45-retries.conf", r"\{0,4\}\(app", "{0,1}(app")


class Dns(InThread):
    """Answers every question for an IPv4 address with `addresses`, and counts the questions."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.asked = 0

    def __enter__(self) -> Self:
        dns = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                question, reply_to = self.request
                dns.asked += 1
                count = len(dns.addresses)
                header = question[:2] + struct.pack("!HHHHH", 0x8180, 1, count, 0, 0)
                # Each answer: the name of the question, type A, class IN, 600 s as Docker says, 4 bytes.
                records = [struct.pack("!HHHIH", 0xC00C, 1, 1, 600, 4) + socket.inet_aton(address) for address in dns.addresses]
                reply_to.sendto(header + question[12:] + b"".join(records), self.client_address)

        return self._serve(socketserver.UDPServer(("127.0.0.1", 0), Handler))


@contextmanager
def gone(address: str, backend: RawBackend) -> Iterator[None]:
    """Make connections neither taken nor refused there, as with a container that has gone: the queue is full."""
    port = int(backend.address.rpartition(":")[2])
    with ExitStack() as exits:
        listener = exits.enter_context(socket.socket())
        listener.bind((address, port))
        listener.listen(0)
        waiting = []
        for _ in range(3):
            waiting.append(exits.enter_context(socket.socket()))
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex((address, port))
        yield


@pytest.fixture
def vanished(sound: RawBackend) -> Iterator[str]:
    with gone("127.0.0.2", sound):
        yield "127.0.0.2"


@pytest.fixture
def sound() -> Iterator[RawBackend]:
    with RawBackend(answer) as backend:
        yield backend


@pytest.fixture
def dns(vanished: str) -> Iterator[Dns]:
    with Dns(vanished) as dns:
        yield dns


def start(start_gateway: Gateways | Sites, dns: Dns, backend: RawBackend, *edits: Edit) -> Gateway:
    port = backend.address.rpartition(":")[2]
    gateway = start_gateway(f"app.test:{port}", {"NGINX_LOCAL_RESOLVERS": dns.address}, [PATIENT, *edits])
    wait_until(lambda: dns.asked, "nginx has asked for the servers")
    wait_until(lambda: gateway.get("/first", "X-Request-ID: begun-1", host="no.such.host").status == 421, "nginx serves")
    return gateway


def ask_while_the_list_changes(gateway: Gateway, dns: Dns, method: str, path: str = "/waits") -> Answer:
    """Send a request to the server that has gone, and let DNS name the other one while it waits."""
    dns.addresses = ("127.0.0.1",)
    return gateway.request(method, path, body=b"x" if path == "/waits" else b"")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_request_that_waits_for_a_server_that_has_gone_is_answered(
    start_gateway: Gateways, dns: Dns, sound: RawBackend, method: str
) -> None:
    reply = ask_while_the_list_changes(start(start_gateway, dns, sound), dns, method)

    assert reply.status == 200
    assert Counter(seen.target for seen in sound.seen) == {"/waits": 1}


@pytest.mark.parametrize("path", ["/waits", "/healthz"])
def test_the_waf_begins_again_too(start_site: Sites, dns: Dns, sound: RawBackend, path: str) -> None:
    """Inspected or not."""
    reply = ask_while_the_list_changes(start(start_site, dns, sound), dns, "GET", path)

    assert reply.status == 200


def test_it_would_be_a_502_if_it_did_not_begin_again(start_gateway: Gateways, dns: Dns, sound: RawBackend) -> None:
    """The twin: nginx as it is."""
    gateway = start(start_gateway, dns, sound, NEVER_AGAIN)

    assert ask_while_the_list_changes(gateway, dns, "GET").status == 502
    wait_until(lambda: "no live upstreams" in gateway.error_log(), "nginx says why")
    assert sound.seen == []


def ask_while_it_changes_twice(gateway: Gateway, dns: Dns, backend: RawBackend) -> Answer:
    """As a container does that comes and goes: the second list names another one that has gone by then."""
    dns.addresses = ("127.0.0.3",)
    with gone("127.0.0.3", backend), ThreadPoolExecutor(1) as pool:
        reply = pool.submit(gateway.request, "POST", "/waits", body=b"x")
        wait_until(lambda: "no live upstreams" in gateway.error_log(), "it begins again", timeout_s=30)
        dns.addresses = ("127.0.0.1",)
        return reply.result()


def test_a_list_may_change_twice(start_gateway: Gateways, dns: Dns, sound: RawBackend) -> None:
    assert ask_while_it_changes_twice(start(start_gateway, dns, sound), dns, sound).status == 200
    assert Counter(seen.target for seen in sound.seen) == {"/waits": 1}


def test_the_second_would_be_a_502_if_it_began_again_only_once(start_gateway: Gateways, dns: Dns, sound: RawBackend) -> None:
    """The twin."""
    assert ask_while_it_changes_twice(start(start_gateway, dns, sound, ONLY_ONCE), dns, sound).status == 502


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_request_that_was_sent_never_begins_again(start_gateway: Gateways, method: str) -> None:
    """Nor when the servers were found by name: one of each address, and each is asked at most once in all."""
    with RawBackend(hang_up) as silent, Dns("127.0.0.1") as dns:
        gateway = start(start_gateway, dns, silent)
        sent = [f"/{number}" for number in range(8)]
        # Before nginx knows an address nobody is asked, which is a 503.
        wait_until(lambda: gateway.request(method, "/first", body=b"x").status == 502, "nginx knows the server")

        assert [gateway.request(method, target, body=b"x").status for target in sent] == [502] * len(sent)
    assert Counter(seen.target for seen in silent.seen) == Counter(["/first", *sent])
