"""What a load balancer says about a request reaches the app when it is trusted; what it says otherwise is in the log.

The twin of each case is the same request at a gateway that trusts nobody.
"""

import pytest

from tests.gateways import Gateways
from tests.nginx.gateway import Gateway

SITE = {"SERVER_NAMES": "www.example.org *.example.com localhost"}
Facts = tuple[str, str, str, str]  # client, scheme, host, prefix


@pytest.fixture(scope="session")
def trusting(shared_gateways: Gateways, echo_backend: str) -> Gateway:
    return shared_gateways(echo_backend, {**SITE, "TRUSTED_PROXIES": "127.0.0.1 10.1.0.0/16 fd00:1::/32"})


@pytest.fixture(scope="session")
def trusting_nobody(shared_gateways: Gateways, echo_backend: str) -> Gateway:
    return shared_gateways(echo_backend, SITE)


def seen(gateway: Gateway, *headers: str) -> Facts:
    """What reaches the app."""
    answer = gateway.get("/", *headers)
    assert answer.status == 200, answer
    said = answer.json()["headers"]
    assert said["host"] == said["x-forwarded-host"]
    return said["x-forwarded-for"], said["x-forwarded-proto"], said["host"], said.get("x-forwarded-prefix", "")


ONE, TWO, THREE = "203.0.113.7", "203.0.113.7, 10.1.0.2", "6.6.6.6, [2001:DB8::7]:443, 10.1.0.2, fd00:1::5"
CASES: dict[str, tuple[list[str], Facts]] = {
    "one balancer": (
        ["X-Forwarded-Proto: https", "X-Forwarded-Host: www.example.org", "X-Forwarded-Prefix: /shop"],
        ("127.0.0.1", "https", "www.example.org", "/shop"),
    ),
    "mixed case": (
        ["X-Forwarded-Proto: HTTPS", "X-Forwarded-Host: WWW.Example.org:444", "x-forwarded-prefix: /Shop/"],
        ("127.0.0.1", "https", "WWW.Example.org:444", "/Shop"),
    ),
    "Traefik's words for WebSockets": (["X-Forwarded-Proto: wss"], ("127.0.0.1", "https", "localhost", "")),
    "a list behind one: only the last is its own": (
        [f"X-Forwarded-For: 6.6.6.6, {ONE}", "X-Forwarded-Proto: https, http", "X-Forwarded-Host: a.example.com,b.example.com"],
        (ONE, "http", "b.example.com", ""),
    ),
    "one, and a client that claims to have passed another": (
        [f"X-Forwarded-For: {ONE}, {ONE}", "X-Forwarded-Proto: https, http", "X-Forwarded-Prefix: /a, /b"],
        (ONE, "http", "localhost", "/b"),
    ),
    "two, which add": (
        [f"X-Forwarded-For: {TWO}", "X-Forwarded-Proto: http, https, http", "X-Forwarded-Host: evil.example, a.example.com, b.example.com"],
        (ONE, "https", "a.example.com", ""),
    ),
    "two, the second overwrites": (
        [f"X-Forwarded-For: {TWO}", "X-Forwarded-Proto: https", "X-Forwarded-Prefix: /a, /b"],
        (ONE, "https", "localhost", "/a"),
    ),
    "three, with a port and IPv6": (
        [f"X-Forwarded-For: {THREE}", "X-Forwarded-Proto: http, https, http, http"],
        ("2001:db8::7", "https", "localhost", ""),
    ),
    "in two lines": (
        [f"X-Forwarded-For: {ONE}", "X-Forwarded-For: 10.1.0.2", "X-Forwarded-Proto: https", "X-Forwarded-Proto: http"],
        (ONE, "https", "localhost", ""),
    ),
    "RFC 7239": (
        [f"Forwarded: for={ONE};proto=https;host=www.example.org;by=10.1.0.9"],
        (ONE, "https", "www.example.org", ""),
    ),
    "RFC 7239, quoted, two balancers": (
        ['Forwarded: for=6.6.6.6, FOR="[2001:db8::7]:4711"; Proto=HTTPS;host="a.example.com:8443", for=10.1.0.2;proto=http'],
        ("2001:db8::7", "https", "a.example.com:8443", ""),
    ),
    "RFC 7239 of a client, through a balancer that sends X-Forwarded-For": (
        ["Forwarded: for=6.6.6.6;proto=https;host=www.example.org", f"X-Forwarded-For: {ONE}"],
        (ONE, "http", "localhost", ""),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_trusted_balancer_is_believed(trusting: Gateway, case: str) -> None:
    headers, facts = CASES[case]

    assert seen(trusting, *headers) == facts


@pytest.mark.parametrize("case", CASES)
def test_nobody_else_is(trusting_nobody: Gateway, case: str) -> None:
    assert seen(trusting_nobody, *CASES[case][0]) == ("127.0.0.1", "http", "localhost", "")


@pytest.mark.parametrize(
    ("said", "logged"),
    [
        ("X-Forwarded-Proto: on", "X-Forwarded-Proto: on; "),
        ("X-Forwarded-Host: evil.example", "X-Forwarded-Host: evil.example; "),
        ("X-Forwarded-Host: www.example.org.evil.example", "X-Forwarded-Host: www.example.org.evil.example; "),
        ("X-Forwarded-Prefix: //evil.example", "X-Forwarded-Prefix: //evil.example; "),
        ("X-Forwarded-Prefix: /a/../b", "X-Forwarded-Prefix: /a/../b; "),
        ("Forwarded: for=_hidden", "Forwarded: for=_hidden; "),
        ("Forwarded: nonsense", "Forwarded: nonsense; "),
        ("X-Forwarded-Proto: https", ""),
    ],
)
def test_what_is_not_understood_is_logged(trusting: Gateway, trusting_nobody: Gateway, said: str, logged: str) -> None:
    ignored = []
    for gateway in (trusting, trusting_nobody):
        request_id = f"ignored-{abs(hash(said)):x}"
        client, _, host, prefix = seen(gateway, said, f"X-Request-ID: {request_id}")
        assert (client, host, prefix) == ("127.0.0.1", "localhost", "")
        ignored.append(gateway.logged(request_id)["forwarded_ignored"])

    assert ignored == [logged, ""]


def test_an_address_out_of_forwarded_has_limits_of_its_own(start_gateway: Gateways, echo_backend: str) -> None:
    """As has one out of X-Forwarded-For: a flood of one visitor refuses no other, and an IPv6 /64 is one visitor."""
    gateway = start_gateway(
        echo_backend, {**SITE, "LIMITS": "on", "LIMIT_REQUESTS": "1", "LIMIT_BURST": "20", "TRUSTED_PROXIES": "127.0.0.1"}
    )

    def statuses(address: str, count: int = 1) -> set[int]:
        return {gateway.get("/", f'Forwarded: for="{address}"').status for _ in range(count)}

    flood = [gateway.get("/", f'Forwarded: for="[2001:db8::{number:x}]"').status for number in range(1, 120)]

    assert flood.count(429) > 0
    assert statuses("[2001:db8:0:1::1]") == {200}
    assert statuses("203.0.113.7") == {200}


# --- The health check of a balancer that asks for an address


BY_ADDRESS = (b"GET %s HTTP/1.1\r\nHost: 10.0.3.17:8080\r\nConnection: close\r\n\r\n", b"GET %s HTTP/1.0\r\n\r\n")


@pytest.mark.parametrize("request_", BY_ADDRESS, ids=["by address", "HTTP/1.0"])
def test_a_health_check_by_address_gets_the_health_path_and_nothing_else(trusting_nobody: Gateway, request_: bytes) -> None:
    answers = {path: trusting_nobody.send(request_ % path) for path in (b"/healthz", b"/", b"/healthz/", b"/static/app.css")}
    said = answers[b"/healthz"].json()["headers"]

    assert [answer.status for answer in answers.values()] == [200, 421, 421, 421]
    assert (said["host"], said["x-forwarded-proto"]) == ("www.example.org", "https")


def test_the_health_path_is_a_setting(start_gateway: Gateways, echo_backend: str) -> None:
    gateway = start_gateway(echo_backend, {"HEALTH_PATH": "/up", "SERVER_NAMES": "*.example.org"})

    assert gateway.get("/up", host="10.0.3.17").json()["headers"]["host"] == "www.example.org"
    assert gateway.get("/healthz", host="10.0.3.17").status == 421


# --- The PROXY protocol


PROXY = b"PROXY TCP4 203.0.113.7 192.0.2.1 51234 %d\r\n"
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Forwarded-Proto: https\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n"


@pytest.mark.parametrize(("peers", "port", "facts"), [
    ("127.0.0.1", 80, ("203.0.113.7", "http")),
    ("127.0.0.1", 443, ("203.0.113.7", "https")),
    ("10.1.0.0/16", 443, ("127.0.0.1", "http")),
], ids=["trusted", "with the TLS of the balancer", "not trusted"])  # fmt: skip
def test_the_proxy_protocol_of_a_trusted_balancer_names_the_client(
    start_gateway: Gateways, echo_backend: str, peers: str, port: int, facts: tuple[str, str]
) -> None:
    """And its HTTP headers are the client's, so nobody believes them."""
    gateway = start_gateway(echo_backend, {"PROXY_PROTOCOL": "on", "TRUSTED_PROXIES": peers})
    said = gateway.send(PROXY % port + GET).json()["headers"]

    assert (said["x-forwarded-for"], said["x-forwarded-proto"]) == facts
    with gateway.connect() as connection:
        connection.sendall(GET)
        assert connection.recv(4096) == b""


def test_without_the_setting_it_is_no_request(trusting: Gateway) -> None:
    assert trusting.send(PROXY % 80 + GET).status == 400


# --- A site under a path


def test_a_site_under_a_path_passes_the_whole_path_and_nothing_else(start_gateway: Gateways, echo_backend: str) -> None:
    gateway = start_gateway(echo_backend, {"URL_PREFIX": "/shop", "HEALTH_PATH": "/shop/healthz"})
    (gateway.folder / "static" / "site.css").write_text("body{}")

    assert gateway.get("/shop/a%2Fb?c=d").json()["target"] == "/shop/a%2Fb?c=d"
    assert gateway.get("/shop/static/site.css").body == b"body{}"
    assert gateway.get("/shop/healthz", host="10.0.3.17").status == 200
    assert {gateway.get(path).status for path in ("/", "/shopping", "/static/site.css", "/healthz")} == {404}
    assert b"<html" in gateway.get("/").body
    answer = gateway.get("/shop?c=d")
    assert (answer.status, answer.values("Location")) == (308, ["/shop/?c=d"])
