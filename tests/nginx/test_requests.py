"""What of a request reaches the app: its host, its client's address and scheme, its id, and none of what a client made up."""

import json

import pytest

from tests.nginx.conftest import Gateways
from tests.nginx.gateway import Answer, Gateway

FORGED = (
    "X-Forwarded-For: 6.6.6.6",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: evil.example",
    "X-Request-Start: t=1.000",
    "X-Gateway-Time: 99",
    "Proxy: http://evil.example",
    "Forwarded: for=6.6.6.6;proto=https",
    "X-Real-IP: 6.6.6.6",
    "True-Client-IP: 6.6.6.6",
    "X-Client-IP: 6.6.6.6",
    "X-Forwarded-Port: 443",
    "X-Forwarded-Prefix: /evil",
    "X-Forwarded-Protocol: ssl",
    "X-Forwarded-Scheme: https",
    "X-Forwarded-Server: evil.example",
    "X-Forwarded-Ssl: on",
    "X-Original-URL: /admin",
    "X-Rewrite-URL: /admin",
    "X-Url-Scheme: https",
    "X-Accel-Redirect: /admin",
    "X-Accel-Buffering: no",
    "X-Accel-Mapping: a=b",
    "Upgrade: h2c",
    "SCRIPT_NAME: /evil",
    "X_Forwarded_For: 6.6.6.6",
)


def passed(answer: Answer) -> dict[str, str]:
    """The headers that reached the app."""
    assert answer.status == 200, answer
    headers: dict[str, str] = answer.json()["headers"]
    return headers


# --- Host


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.2", "", "[::2]"])
def test_unknown_host_is_refused(gateway: Gateway, host: str) -> None:
    assert gateway.get("/", host=host).status in {400, 421}


def test_unknown_well_formed_host_gets_421(gateway: Gateway) -> None:
    assert gateway.get("/", host="evil.example").status == 421


@pytest.mark.parametrize("host", ["localhost:80@evil.example", "localhost:evil", "localhost:123456"])
def test_what_is_no_port_is_not_passed_on(gateway: Gateway, host: str) -> None:
    """Older versions of nginx take anything after the colon, newer ones refuse it."""
    answer = gateway.get("/", host=host)

    assert answer.status == 400 or passed(answer)["host"] == "localhost"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "[::1]", "localhost:8080", "[::1]:8080"])
def test_known_host_reaches_the_app_with_its_port(gateway: Gateway, host: str) -> None:
    headers = passed(gateway.get("/", host=host))

    assert headers["host"] == host.lower()
    assert headers["x-forwarded-host"] == host.lower()


def test_http_1_1_without_host_is_malformed(gateway: Gateway) -> None:
    assert gateway.send(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n").status == 400


def test_http_1_0_without_host_is_misdirected(gateway: Gateway) -> None:
    assert gateway.send(b"GET / HTTP/1.0\r\n\r\n").status == 421


def test_http_1_0_with_host_is_served(gateway: Gateway) -> None:
    assert gateway.send(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n").status == 200


def test_two_hosts_are_malformed(gateway: Gateway) -> None:
    assert gateway.get("/", "Host: evil.example").status == 400


def test_absolute_request_line_decides_the_host(gateway: Gateway) -> None:
    """Not the Host header: it was not the one that was checked."""
    headers = passed(gateway.get("http://localhost/", host="evil.example"))

    assert headers["host"] == "localhost"
    assert "evil" not in json.dumps(headers)


def test_absolute_request_line_with_an_unknown_host_is_refused(gateway: Gateway) -> None:
    assert gateway.get("http://evil.example/").status == 421


def test_wildcard_names_are_served(start_gateway: Gateways, echo_backend: str) -> None:
    gateway = start_gateway(echo_backend, {"SERVER_NAMES": "*.example.org www.example.com"})

    assert gateway.get("/", host="a.example.org").status == 200
    assert gateway.get("/", host="www.example.com").status == 200
    assert gateway.get("/", host="example.com").status == 421


def test_a_name_of_253_characters_is_served(start_gateway: Gateways, echo_backend: str) -> None:
    name = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])

    assert start_gateway(echo_backend, {"SERVER_NAMES": name}).get("/", host=name).status == 200


# --- What a client made up


@pytest.mark.parametrize("header", FORGED)
def test_forged_header_does_not_reach_the_app(gateway: Gateway, header: str) -> None:
    name, _, value = header.partition(": ")
    headers = passed(gateway.get("/", header))

    assert headers.get(name.lower().replace("_", "-")) != value


def test_gateway_says_who_asks(gateway: Gateway) -> None:
    headers = passed(gateway.get("/", *FORGED))

    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["x-forwarded-proto"] == "http"


def test_gateway_says_when_the_request_was_complete(gateway: Gateway) -> None:
    headers = passed(gateway.get("/"))

    assert headers["x-request-start"].startswith("t=")
    assert float(headers["x-request-start"][2:]) > 1e9
    assert float(headers["x-gateway-time"]) >= 0


def test_connection_to_the_app_is_kept(gateway: Gateway) -> None:
    assert "connection" not in passed(gateway.get("/", "Keep-Alive: 300"))


@pytest.mark.parametrize("target", ["/a%2Fb//c/..d/.e./%252e?x=%20y/../z", "/%E4%BD%A0?q=a+b", "/a;b=c", "/a%00b"])
def test_target_reaches_the_app_as_it_was_sent(gateway: Gateway, target: str) -> None:
    answer = gateway.get(target)

    if "%00" in target:
        assert answer.status == 400
    else:
        assert answer.json()["target"] == target


def test_chunked_body_reaches_the_app_complete(gateway: Gateway) -> None:
    request = (
        b"POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"
        b"Content-Type: application/x-www-form-urlencoded\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )

    assert gateway.send(request).json()["body"] == "abcde"


# --- Request id


@pytest.mark.parametrize("sent", ["abcdefgh", "A_b-3" * 10])
def test_well_formed_request_id_is_kept(gateway: Gateway, sent: str) -> None:
    answer = gateway.get("/", f"X-Request-ID: {sent}")

    assert answer.values("X-Request-ID") == [sent]
    assert passed(answer)["x-request-id"] == sent


@pytest.mark.parametrize("sent", ["short", "x" * 65, 'abcdefgh"', "abcdefgh ijk", "<script>alert(1)</script>", "%0aabcdefgh"])
def test_malformed_request_id_is_replaced(gateway: Gateway, sent: str) -> None:
    answer = gateway.get("/", f"X-Request-ID: {sent}")
    (received,) = answer.values("X-Request-ID")

    assert received != sent
    assert len(received) == 32
    assert passed(answer)["x-request-id"] == received


# --- A load balancer in front


@pytest.fixture(scope="session")
def trusting(shared_gateways: Gateways, echo_backend: str) -> Gateway:
    return shared_gateways(echo_backend, {"TRUSTED_PROXIES": "127.0.0.1, 10.1.0.0/16, fd00:1::/32"})


def test_trusted_proxy_names_client_and_scheme(trusting: Gateway) -> None:
    answer = trusting.get("/", "X-Forwarded-For: 203.0.113.7", "X-Forwarded-Proto: https", "X-Request-ID: trusted-1")
    headers = passed(answer)
    line = trusting.logged("trusted-1")

    assert headers["x-forwarded-for"] == "203.0.113.7"
    assert headers["x-forwarded-proto"] == "https"
    assert (line["client"], line["peer"], line["scheme"]) == ("203.0.113.7", "127.0.0.1", "https")


@pytest.mark.parametrize(
    ("chain", "client"),
    [
        ("6.6.6.6, 203.0.113.7", "203.0.113.7"),
        ("6.6.6.6, 203.0.113.7, 10.1.2.3", "203.0.113.7"),
        ("6.6.6.6, 10.2.0.1", "10.2.0.1"),
        ("2001:db8::7, fd00:1::5", "2001:db8::7"),
        ("nonsense", "127.0.0.1"),
    ],
)
def test_client_is_the_last_address_that_is_not_trusted(trusting: Gateway, chain: str, client: str) -> None:
    """What stands before it was written by the client."""
    assert passed(trusting.get("/", f"X-Forwarded-For: {chain}"))["x-forwarded-for"] == client


@pytest.mark.parametrize("scheme", ["ftp", "https, http", "HTTPS2", ""])
def test_other_schemes_are_not_believed(trusting: Gateway, scheme: str) -> None:
    assert passed(trusting.get("/", f"X-Forwarded-Proto: {scheme}"))["x-forwarded-proto"] == "http"


def test_a_proxy_elsewhere_is_not_trusted(start_gateway: Gateways, echo_backend: str) -> None:
    gateway = start_gateway(echo_backend, {"TRUSTED_PROXIES": "10.1.0.0/16"})
    headers = passed(gateway.get("/", "X-Forwarded-For: 203.0.113.7", "X-Forwarded-Proto: https"))

    assert (headers["x-forwarded-for"], headers["x-forwarded-proto"]) == ("127.0.0.1", "http")
