"""What the TLS variant offers, and what it refuses."""

import json
import ssl
import warnings

import pytest

from tests.tls.conftest import StartTls
from tests.tls.tls import TlsGateway, exchange

MOZILLA_INTERMEDIATE = {
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
}


def offering(gateway: TlsGateway, version: ssl.TLSVersion, ciphers: str = "ALL:@SECLEVEL=0") -> ssl.SSLContext:
    """A client that knows this version alone, and so many ciphers as its library has."""
    context = gateway.context()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # old versions: that is what is tried
        context.minimum_version = context.maximum_version = version
    context.set_ciphers(ciphers)
    return context


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_todays_versions_are_spoken(gateway: TlsGateway, version: ssl.TLSVersion) -> None:
    with gateway.connect(offering(gateway, version)) as connection:
        assert exchange(connection, "/").status == 200


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_versions_are_refused(gateway: TlsGateway, version: ssl.TLSVersion) -> None:
    with pytest.raises(ssl.SSLError, match=r"(?i)protocol.version|unsupported.protocol"):
        gateway.connect(offering(gateway, version))


def test_only_the_guidelines_ciphers_are_taken(gateway: TlsGateway) -> None:
    """Each cipher of this machine's library is offered alone."""
    names = {str(cipher["name"]) for cipher in offering(gateway, ssl.TLSVersion.TLSv1_2).get_ciphers()}
    taken = {name for name in names if takes(gateway, name)}

    assert taken == {name for name in names & MOZILLA_INTERMEDIATE if not name.startswith("TLS_")}
    assert len(names) > 20


def takes(gateway: TlsGateway, cipher: str) -> bool:
    try:
        context = offering(gateway, ssl.TLSVersion.TLSv1_2, f"{cipher}:@SECLEVEL=0")
        with gateway.connect(context):
            return True
    except ssl.SSLError:
        return False


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_is_resumed(gateway: TlsGateway, version: ssl.TLSVersion) -> None:
    context = offering(gateway, version)
    with gateway.connect(context) as first:
        exchange(first, "/")  # TLS 1.3 sends the ticket after the handshake
        session = first.session
    with gateway.connect(context, session=session) as second:
        assert second.session_reused
        assert exchange(second, "/").status == 200


# --- Names


@pytest.mark.parametrize("name", ["evil.example", "localhost.evil.example", "example.org"])
def test_an_unknown_name_gets_no_certificate(gateway: TlsGateway, name: str) -> None:
    with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
        gateway.connect(name=name)


def test_an_address_needs_no_name(gateway: TlsGateway) -> None:
    assert gateway.get(host="127.0.0.1", name=None).status == 200


def test_without_an_address_in_the_names_a_handshake_must_say_one(start_tls: StartTls) -> None:
    gateway = start_tls(SERVER_NAMES="localhost")

    assert gateway.get().status == 200
    with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
        gateway.connect(name=None)


@pytest.mark.parametrize("name", ["localhost", None])
def test_another_host_within_a_good_connection_is_misdirected(gateway: TlsGateway, name: str | None) -> None:
    assert gateway.get(host="evil.example", name=name).status == 421


def test_no_host_within_a_good_connection_is_misdirected(gateway: TlsGateway) -> None:
    with gateway.connect(name=None) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert connection.recv(64).startswith(b"HTTP/1.1 421 ")


# --- Plain HTTP


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_plain_http_is_sent_to_tls_with_its_method(gateway: TlsGateway, method: str) -> None:
    answer = gateway.plain.request(method, "/a%2Fb//c?x=y", body=b"{}" if method == "POST" else b"")

    assert answer.status == 308
    assert answer.values("location") == [f"https://localhost:{gateway.port}/a%2Fb//c?x=y"]
    assert answer.values("strict-transport-security") == []


def test_port_443_is_not_named_in_redirects(start_tls: StartTls) -> None:
    gateway = start_tls(GATEWAY_TLS_PORT="443")

    assert gateway.plain.get("/a").values("location") == ["https://localhost/a"]


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example"])
def test_no_redirect_leads_to_another_host(gateway: TlsGateway, host: str) -> None:
    assert gateway.plain.get("/", host=host).status == 421


def test_plain_http_on_the_tls_port_is_refused_and_redirects_nobody(gateway: TlsGateway) -> None:
    with gateway.plain.client() as client:
        answer = client.get(f"http://127.0.0.1:{gateway.port}/")

    assert answer.status_code == 400
    assert "location" not in answer.headers


# --- What the application and the browser learn


def test_the_application_learns_of_tls(gateway: TlsGateway) -> None:
    headers = json.loads(gateway.get("/x", "X-Forwarded-Proto: http", host=f"localhost:{gateway.port}").body)["headers"]

    assert headers["x_forwarded_proto"] == "https"
    assert headers["host"] == f"localhost:{gateway.port}"


def test_hsts_is_a_decision(gateway: TlsGateway, start_tls: StartTls) -> None:
    strict = start_tls(TLS_HSTS="max-age=63072000; includeSubDomains; preload")

    assert gateway.get("/").values("strict-transport-security") == []
    assert strict.get("/").values("strict-transport-security") == ["max-age=63072000; includeSubDomains; preload"]
    assert strict.get("/a/../b").values("strict-transport-security") == ["max-age=63072000; includeSubDomains; preload"]
    assert strict.plain.get("/").values("strict-transport-security") == []


def test_the_log_knows_version_and_cipher(gateway: TlsGateway) -> None:
    gateway.get("/", "X-Request-ID: tls-log-line")
    line = gateway.plain.logged("tls-log-line")

    assert (line["scheme"], line["tls_protocol"]) == ("https", "TLSv1.3")
    assert line["tls_cipher"] in MOZILLA_INTERMEDIATE
