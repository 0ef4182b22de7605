"""Which containers get requests: every rule of `choose`, without a container. The real ones are in test_rotation.py."""

import asyncio
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dns.asyncresolver
import dns.message
import dns.rcode
import health_checks
import pytest
from health_checks import Server, Service

A, B, C = "10.0.0.1", "10.0.0.2", "10.0.0.3"


def service(*listed: str, seen: tuple[str, ...] = ()) -> Service:
    return Service("app", 8000, "/healthz", list(listed), set(seen))


@pytest.mark.parametrize(
    ("healthy", "silent", "seen", "expected"),
    [
        pytest.param({A, B}, {C}, {A, B, C}, [A, B], id="a silent one is out"),
        pytest.param({A, B}, set(), {A, B, C}, [A, B], id="so is one that refuses, or answers anything but 200"),
        pytest.param({A}, {B, C}, {A, B, C}, [A, B, C], id="more are silent than answer: all stay"),
        pytest.param({A}, {B}, {A, B, C}, [A], id="as many are silent as answer, and one refuses"),
        pytest.param({A}, set(), {A, B, C}, [A], id="those that refuse are out also when they are the most"),
        pytest.param({A}, {B, C}, {A}, [A], id="those that have never answered are starting: no overload"),
        pytest.param(set(), {A, B}, {A, B}, [A, B], id="none answers: those that once did stay"),
        pytest.param(set(), set(), set(), [A, B, C], id="none has ever answered: all"),
    ],
)
def test_rule(healthy: set[str], silent: set[str], seen: set[str], expected: list[str]) -> None:
    app = service(A, B, C, seen=tuple(seen))
    app.choose(healthy, silent)

    assert app.rotation == expected


def test_name_that_the_engine_no_longer_has_keeps_only_those_that_answer() -> None:
    app = service(A, B, seen=(A, B))
    app.choose({A}, {B}, exists=False)
    assert app.rotation == [A]

    app.choose(set(), {A, B}, exists=False)
    assert app.rotation == []


def test_container_that_left_dns_must_answer_again_before_it_counts() -> None:
    app = service(A, B, seen=(A, B))
    app.listed = [A]
    app.choose({A}, set())
    app.listed = [A, B]
    app.choose({A}, {B})

    assert app.seen == {A}


@contextmanager
def resolver_at(port: int) -> Iterator[None]:
    """Let the program ask a DNS server at this port of 127.0.0.1."""
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = ["127.0.0.1"], port
    dns.asyncresolver.default_resolver = resolver  # type: ignore[assignment]  # it is declared as None
    try:
        yield
    finally:
        dns.asyncresolver.default_resolver = None


def test_the_last_list_is_kept_while_dns_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_checks, "TIMEOUT_S", 0.1)
    app = service("127.0.0.1", seen=("127.0.0.1",))
    with socket.socket(type=socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        with resolver_at(silent.getsockname()[1]):
            assert asyncio.run(app.find())
            assert app.listed == ["127.0.0.1"]
            first = service()
            asyncio.run(first.check())
            assert first.rotation is None


def test_a_name_that_does_not_exist_empties_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin, asked of the program's own server."""
    monkeypatch.setattr(health_checks, "TIMEOUT_S", 1.0)
    none = service()
    none.rotation = []

    async def check() -> Service:
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: Server([none]), ("127.0.0.1", 0))
        app = service("127.0.0.1", seen=("127.0.0.1",))
        app.port = transport.get_extra_info("sockname")[1]  # nothing listens there on TCP
        with resolver_at(app.port):
            await app.check()
        transport.close()
        return app

    assert asyncio.run(check()).rotation == []


class Replies:
    """Stands where the socket is, and keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def sendto(self, data: bytes, _: object) -> None:
        self.sent.append(data)


def answer(server: Server, *packets: bytes) -> list[bytes]:
    replies = Replies()
    server.connection_made(replies)  # type: ignore[arg-type]
    for packet in packets:
        server.datagram_received(packet, ("127.0.0.1", 1))
    return replies.sent


def ask(server: Server, name: str, kind: str = "A") -> dns.message.Message:
    (reply,) = answer(server, dns.message.make_query(name, kind).to_wire())
    return dns.message.from_wire(reply)


def test_answers() -> None:
    app = service(A, B)
    server = Server([app])
    assert ask(server, "app").rcode() == dns.rcode.SERVFAIL  # not known yet: nginx keeps its list

    app.rotation = [A, B]
    (records,) = ask(server, "APP").answer
    assert sorted(map(str, records)) == [A, B]
    assert ask(server, "app", "AAAA").rcode() == dns.rcode.NOERROR
    assert ask(server, "app", "AAAA").answer == []
    assert ask(server, "other").rcode() == dns.rcode.REFUSED

    app.rotation = []
    assert ask(server, "app").rcode() == dns.rcode.NXDOMAIN


def test_sixty_containers_fit_into_one_answer() -> None:
    """Up to 4096 bytes by UDP: so much nginx reads."""
    app = service()
    app.rotation = [f"10.0.0.{number}" for number in range(1, 61)]
    (reply,) = answer(Server([app]), dns.message.make_query("app", "A").to_wire())

    assert len(dns.message.from_wire(reply).answer[0]) == 60
    assert len(reply) < 4096


def test_packets_that_are_no_questions_get_no_answer_and_harm_nothing() -> None:
    app = service(A)
    app.rotation = [A]
    server = Server([app])
    rng = random.Random(20)  # noqa: S311
    question = dns.message.make_query("app", "A").to_wire()
    broken = [rng.randbytes(rng.randrange(64)) for _ in range(2000)]
    broken += [bytes(byte ^ (rng.random() < 0.05) * rng.randrange(256) for byte in question) for _ in range(2000)]
    reply = dns.message.make_response(dns.message.from_wire(question)).to_wire()
    answer(server, *broken)

    assert answer(server, reply, b"") == []
    assert len(answer(server, question)) == 1


@pytest.mark.parametrize("argument", ["app", "app:8000", "app:http/", "app:8000healthz", "app:8000/a b", "[::1]:8000/", "app:99999999/"])
def test_wrong_argument_ends_the_start_with_one_line(argument: str) -> None:
    program = Path(health_checks.__file__)
    done = subprocess.run([sys.executable, program, argument], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert done.stderr == f"health-checks: {argument!r}: expected NAME:PORT/PATH, such as app:8000/healthz\n"
