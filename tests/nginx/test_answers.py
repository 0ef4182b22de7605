"""What an answer carries: security headers once, no version, compression where it is right, streams at once; and its line in the log."""

import gzip
import zlib
from contextlib import closing

import pytest

from tests.nginx.conftest import Gateways
from tests.nginx.gateway import Answer, Gateway
from tests.nginx.wsgi_echo import CHUNK
from tools.local.nginx import Edit

SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "X-Frame-Options": "SAMEORIGIN",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}
# One answer of each kind: the app's, the app's error, a file's, the gateway's own.
KINDS = ["/", "/status/422", "/static/app.css", "/\x01"]


@pytest.fixture(autouse=True)
def static_file(gateway: Gateway) -> None:
    (gateway.folder / "static" / "app.css").write_text("body{}")


@pytest.mark.parametrize("path", KINDS)
def test_every_answer_has_the_security_headers_once(gateway: Gateway, path: str) -> None:
    answer = gateway.get(path)
    expected = {**SECURITY, "X-Frame-Options": "DENY"} if path.startswith("/status") else SECURITY

    assert {name: answer.values(name) for name in expected} == {name: [value] for name, value in expected.items()}
    assert len(answer.values("X-Request-ID")) == 1


@pytest.mark.parametrize("path", KINDS)
def test_no_answer_tells_a_version(gateway: Gateway, path: str) -> None:
    answer = gateway.get(path)

    assert answer.values("Server") == ["nginx"]
    assert answer.values("X-Powered-By") == []
    assert b"gunicorn" not in answer.body


def test_content_security_policy_is_the_apps(gateway: Gateway) -> None:
    """The gateway knows one for its own pages only."""
    assert gateway.get("/").values("Content-Security-Policy") == []
    assert gateway.get("/status/404").values("Content-Security-Policy") == ["default-src 'self'"]


# --- Compression


def test_text_is_compressed_for_who_takes_it(gateway: Gateway) -> None:
    plain, packed = gateway.get("/text"), gateway.get("/text", "Accept-Encoding: gzip")

    assert packed.values("Content-Encoding") == ["gzip"]
    assert packed.values("Vary") == ["Accept-Encoding"]
    assert gzip.decompress(packed.body) == plain.body
    assert plain.values("Content-Encoding") == []


@pytest.mark.parametrize("coding", ["br"], indirect=True)
def test_brotli_is_preferred(gateway: Gateway, coding: str) -> None:
    answer = gateway.get("/text", f"Accept-Encoding: gzip, {coding}")

    assert answer.values("Content-Encoding") == ["br"]
    assert len(answer.body) < 500


@pytest.mark.parametrize("content_type", ["application/json", "application/problem%2Bjson", "text/css", "image/svg%2Bxml"])
@pytest.mark.parametrize("coding", ["gzip", "br"], indirect=True)
def test_other_text_is_compressed_too(gateway: Gateway, coding: str, content_type: str) -> None:
    assert gateway.get(f"/text?type={content_type}", f"Accept-Encoding: {coding}").values("Content-Encoding") == [coding]


def test_what_is_no_text_is_left_alone(gateway: Gateway) -> None:
    assert gateway.get("/text?type=image/png", "Accept-Encoding: gzip, br").values("Content-Encoding") == []


def test_app_can_forbid_compression(gateway: Gateway) -> None:
    """The way out of BREACH for a view that shows a secret beside what the client sent."""
    answer = gateway.get("/text?encoding=identity", "Accept-Encoding: gzip, br")

    assert answer.values("Content-Encoding") == ["identity"]
    assert answer.body.startswith(b"hello world")


# --- Streams


def first_chunk(gateway: Gateway, query: str, coding: str, *, wait_s: float) -> bytes:
    """Ask for the stream; return what has come of its body before the app was told to go on ("" when nothing came within `wait_s`)."""
    with closing(gateway.connect()) as connection:
        connection.sendall(f"GET /stream?{query} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: {coding}\r\n\r\n".encode())
        connection.settimeout(wait_s)
        received = b""
        try:
            while len(body_of(received)) < len(CHUNK) // 2:
                received += connection.recv(65536)
        except TimeoutError:
            pass
        gateway.request("POST", "/release")
        return body_of(received)


def body_of(received: bytes) -> bytes:
    """The complete chunks of an answer of which only the beginning may be there."""
    _, _, rest = received.partition(b"\r\n\r\n")
    body = b""
    while b"\r\n" in rest:
        size, _, rest = rest.partition(b"\r\n")
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return body


@pytest.mark.parametrize("coding", ["identity", "gzip", "br"], indirect=True)
def test_stream_passes_at_once_when_the_app_says_so(gateway: Gateway, coding: str) -> None:
    received = first_chunk(gateway, "buffering=no", coding, wait_s=20)

    if coding == "identity":
        assert received == CHUNK
    elif coding == "gzip":
        assert zlib.decompressobj(wbits=31).decompress(received) == CHUNK
    else:
        # No decoder at hand: 128 random hexadecimal digits cannot be told in less than 64 bytes.
        assert len(received) >= len(CHUNK) // 2


@pytest.mark.parametrize("coding", ["gzip", "br"], indirect=True)
def test_stream_is_held_back_otherwise(gateway: Gateway, coding: str) -> None:
    """The twin: compression waits for more, until X-Accel-Buffering says not to."""
    assert first_chunk(gateway, "buffering=yes", coding, wait_s=1) == b""


# --- Answers that do not fit


def test_answer_with_a_header_of_12_kb_passes(gateway: Gateway) -> None:
    assert gateway.get("/large-header?bytes=12000").status == 200


def test_answer_with_a_header_of_20_kb_is_a_502(gateway: Gateway) -> None:
    assert gateway.get("/large-header?bytes=20000").status == 502


# --- The log


def test_log_line_tells_the_way_of_a_request(gateway: Gateway, echo_backend: str) -> None:
    gateway.request("POST", '/a"b?c=d', "X-Request-ID: log-line-1", 'User-Agent: "quoted" \\ \xe9', body=b"12345")
    line = gateway.logged("log-line-1")

    assert (line["method"], line["uri"], line["status"], line["host"]) == ("POST", '/a"b?c=d', 200, "localhost")
    assert (line["upstream"], line["upstream_status"]) == (echo_backend, "200")
    assert float(line["upstream_connect_s"]) <= float(line["upstream_header_s"]) <= float(line["upstream_response_s"])
    assert 0 <= line["received_s"] <= line["request_s"]
    assert line["request_bytes"] > 5
    assert line["sent_bytes"] > line["body_bytes"] > 0
    assert line["user_agent"].startswith('"quoted"')


def test_log_tells_what_a_slow_sender_cost(gateway: Gateway) -> None:
    """The app is not asked before the body is complete, so the wait is in received_s and not in the app's time."""
    with closing(gateway.connect()) as connection:
        connection.sendall(
            b"POST / HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: slow-sender\r\nContent-Length: 2\r\nConnection: close\r\n\r\n1"
        )
        gateway.get("/", "X-Request-ID: meanwhile")
        gateway.logged("meanwhile")
        connection.sendall(b"2")
        while connection.recv(65536):
            pass
    line = gateway.logged("slow-sender")

    assert line["received_s"] > 0
    assert line["request_s"] >= line["received_s"]
    assert line["received_s"] + float(line["upstream_response_s"]) <= line["request_s"] + 0.01


@pytest.mark.parametrize(
    "garbage", [b"\x16\x03\x01\x00\xff\r\n\r\n", b"GET\r\n\r\n", b'GET /" HTTP/1.1\r\nHost: "\r\n\r\n', b"GET / HTTP/9.9\r\n\r\n"]
)
def test_log_stays_json_whatever_is_sent(gateway: Gateway, garbage: bytes) -> None:
    before = len(gateway.access_log())
    answer: Answer = gateway.send(garbage)

    assert answer.status in {400, 421, 505}
    (request_id,) = answer.values("X-Request-ID")
    assert gateway.logged(request_id)["status"] == answer.status
    assert len(gateway.access_log()) > before


# --- Health


def test_health_is_on_its_own_listener(gateway: Gateway) -> None:
    with gateway.client() as client:
        health = client.get(f"http://127.0.0.1:{gateway.status_port}/nginx-health")
        status = client.get(f"http://127.0.0.1:{gateway.status_port}/nginx-status")
        other = client.get(f"http://127.0.0.1:{gateway.status_port}/")

    assert (health.status_code, health.text) == (200, "ok\n")
    assert "Active connections" in status.text
    assert other.status_code == 404


def test_health_is_not_on_the_public_listener(gateway: Gateway) -> None:
    """It is an address like any other there, so the app is asked."""
    assert gateway.get("/nginx-status").json()["target"] == "/nginx-status"


def test_status_is_for_this_machine_only(start_gateway: Gateways, echo_backend: str) -> None:
    """The twin: with another network in `allow`, this machine is refused too."""
    edit = Edit("conf.d/70-status.conf", r"allow 127\.0\.0\.0/8", "allow 192.0.2.0/24")
    gateway = start_gateway(echo_backend, edits=[edit])

    with gateway.client() as client:
        assert client.get(f"http://127.0.0.1:{gateway.status_port}/nginx-status").status_code == 403
