"""The gateway's own error pages: the right status, HTML or problem+json, the request id; and the app's own errors untouched."""

import json
import re
import socket
import threading
from contextlib import ExitStack, closing

import pytest

from tests.clients import wait_until
from tests.nginx.backends import RawBackend, Refusing, answer_after, hang_up
from tests.nginx.conftest import Gateways
from tests.nginx.gateway import ROOT, Answer, Gateway
from tools.local.nginx import Edit

TOO_LARGE = 10485761  # one byte over MAX_CONTENT_LENGTH

HTML = "Accept: text/html,application/xhtml+xml,*/*;q=0.8"
JSON = "Accept: application/json"

# How a client meets each error, as (method, target, header).
CAUSES = {
    405: ("TRACE", "{}", "X-Nothing: 0"),
    413: ("POST", "{}", f"Content-Length: {TOO_LARGE}"),
    414: ("GET", "{}" + "x" * 8200, "X-Nothing: 0"),
    431: ("GET", "{}", "X-Long: " + "x" * 8200),
    501: ("POST", "{}", "Transfer-Encoding: gzip"),
}


def cause(gateway: Gateway, status: int, path: str, *headers: str) -> Answer:
    method, target, header = CAUSES[status]
    head = [f"{method} {target.format(path)} HTTP/1.1", "Host: localhost", "Connection: close", *headers, header]
    return gateway.send("\r\n".join([*head, "", ""]).encode())


def is_page(answer: Answer, status: int) -> bool:
    """Say whether this is the page for people, complete, with the request id that is in the header."""
    (request_id,) = answer.values("X-Request-ID")
    assert answer.status == status
    assert answer.values("Cache-Control") == ["no-store"]
    return (
        answer.values("Content-Type") == ["text/html; charset=utf-8"]
        and f"<h1>{status} ".encode() in answer.body
        and request_id.encode() in answer.body
        and answer.body.endswith(b"</html>\n")
        and b"<!--" not in answer.body
    )


def is_problem(answer: Answer, status: int) -> bool:
    """Say whether this is a problem (RFC 9457) with the request id that is in the header."""
    (request_id,) = answer.values("X-Request-ID")
    assert answer.status == status
    assert answer.values("Cache-Control") == ["no-store"]
    if answer.values("Content-Type") != ["application/problem+json"]:
        return False
    problem = answer.json()
    assert set(problem) == {"type", "title", "status", "detail", "request_id"}
    assert "none" not in problem.values()
    return (problem["type"], problem["status"], problem["request_id"]) == ("about:blank", status, request_id)


# --- Which page


@pytest.mark.parametrize("status", [405, 413, 501])
def test_page_follows_accept(gateway: Gateway, status: int) -> None:
    assert is_page(cause(gateway, status, "/", HTML), status)
    assert is_page(cause(gateway, status, "/"), status)
    assert is_problem(cause(gateway, status, "/", JSON), status)


@pytest.mark.parametrize("status", [405, 413])
def test_under_api_it_is_always_a_problem(gateway: Gateway, status: int) -> None:
    assert is_problem(cause(gateway, status, "/api/entries", HTML), status)
    assert is_problem(cause(gateway, status, "/api/entries"), status)
    assert is_page(cause(gateway, status, "/apiary"), status)


@pytest.mark.parametrize("accept", ["application/problem+json", "application/hal+json, */*;q=0.1"])
def test_any_json_is_json(gateway: Gateway, accept: str) -> None:
    assert is_problem(cause(gateway, 413, "/", f"Accept: {accept}"), 413)


def test_who_takes_both_gets_the_page(gateway: Gateway) -> None:
    assert is_page(cause(gateway, 413, "/", "Accept: application/json, text/html"), 413)


@pytest.mark.parametrize("status", [414, 431])
def test_header_too_large(gateway: Gateway, status: int) -> None:
    """Reading stops before it is known what is accepted: the page for people, whatever was asked for."""
    assert is_page(cause(gateway, status, "/"), status)


@pytest.mark.parametrize("size", [8175, 8177])
def test_request_line_as_long_as_gunicorn_takes_is_served(gateway: Gateway, size: int) -> None:
    """8190 bytes are gunicorn's limit_request_line and what fits into 8 KiB with the line end: one limit, not two."""
    line = f"GET /{'x' * size} HTTP/1.1"
    answer = gateway.send(f"{line}\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())

    assert answer.status == (200 if len(line) <= 8190 else 414)


def test_many_headers_are_refused(gateway: Gateway) -> None:
    """By nginx where it knows max_headers, else by gunicorn."""
    reply = gateway.get("/", *(f"X-Header-{number}: 1" for number in range(101)))

    assert reply.status == 431
    if re.search(r"(?m)^max_headers", gateway.nginx_config()):
        assert is_page(reply, 431)


def test_as_many_headers_as_allowed_are_served(gateway: Gateway) -> None:
    """91 with Host and Connection; the gateway adds up to eight and the WAF one, which makes the hundred that gunicorn takes."""
    assert gateway.get("/", *(f"X-Header-{number}: 1" for number in range(89))).status == 200


def test_malformed_request(gateway: Gateway) -> None:
    assert is_page(gateway.send(b"NONSENSE\r\n\r\n"), 400)


def test_unknown_version_of_http(gateway: Gateway) -> None:
    assert is_page(gateway.send(b"GET / HTTP/3.7\r\nHost: localhost\r\n\r\n"), 505)


def test_unknown_host(gateway: Gateway) -> None:
    assert is_page(gateway.get("/", HTML, host="evil.example"), 421)
    assert is_problem(gateway.get("/api/", host="evil.example"), 421)


def test_error_page_has_no_body_for_head(gateway: Gateway) -> None:
    answer = gateway.request("HEAD", "/", host="evil.example")

    assert (answer.status, answer.body) == (421, b"")


def test_body_over_the_limit_in_chunks(gateway: Gateway) -> None:
    """Content-Length would have told; without it the limit is met on the way."""
    chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    with closing(gateway.connect()) as connection, ExitStack() as exits:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        received: list[bytes] = []
        reader = threading.Thread(target=lambda: received.append(read_all(connection)))
        reader.start()
        exits.callback(reader.join)
        try:
            for _ in range(11):
                connection.sendall(chunk)
        except OSError:
            pass  # nginx has answered and closed
    assert received[0].startswith(b"HTTP/1.1 413 ")


def read_all(connection: socket.socket) -> bytes:
    """Everything until the connection ends, in whatever way."""
    received = b""
    try:
        while part := connection.recv(65536):
            received += part
    except OSError:
        pass
    return received


def test_body_of_exactly_the_limit_reaches_the_app(start_gateway: Gateways, echo_backend: str) -> None:
    gateway = start_gateway(echo_backend, {"MAX_CONTENT_LENGTH": "200000"})

    assert len(gateway.request("POST", "/", body=b"x" * 200000).json()["body"]) == 200000
    assert gateway.request("POST", "/", body=b"x" * 200001).status == 413


# --- When the app does not answer


def test_nobody_listens(start_gateway: Gateways) -> None:
    with Refusing() as refusing:
        gateway = start_gateway(refusing.address)

        page, problem = gateway.get("/", HTML), gateway.get("/", JSON)

    assert is_page(page, 502)
    assert is_problem(problem, 502)
    assert page.values("Retry-After") == ["2"]


def test_app_hangs_up(start_gateway: Gateways) -> None:
    with RawBackend(hang_up) as backend:
        assert is_problem(start_gateway(backend.address).request("POST", "/api/entries", body=b"{}"), 502)


def test_app_takes_too_long(start_gateway: Gateways) -> None:
    """With proxy_read_timeout shortened: 35 s are too long for a test. No Retry-After: the work may still be going on."""
    done = threading.Event()
    edit = Edit("templates/upstream/app.conf.template", r"^proxy_read_timeout .*", "proxy_read_timeout 300ms;")
    with RawBackend(answer_after(done)) as backend, ExitStack() as exits:
        exits.callback(done.set)
        reply = start_gateway(backend.address, edits=[edit]).request("POST", "/", JSON, body=b"x")

    assert is_problem(reply, 504)
    assert reply.values("Retry-After") == []


# --- The app's own errors


@pytest.mark.parametrize("status", [400, 403, 404, 405, 413, 414, 421, 422, 429, 431, 500, 502, 503, 504])
def test_error_of_the_app_passes_untouched(gateway: Gateway, status: int) -> None:
    reply = gateway.get(f"/status/{status}", HTML)

    assert (reply.status, reply.body) == (status, b"the app's own page")
    assert reply.values("Retry-After") == ["77"]
    assert reply.values("Content-Security-Policy") == ["default-src 'self'"]


def test_they_would_not_with_intercepted_errors(start_gateway: Gateways, echo_backend: str) -> None:
    """The twin: what proxy_intercept_errors would do."""
    edit = Edit("templates/snippets/proxy.conf.template", r"^proxy_redirect off;", "proxy_redirect off;\nproxy_intercept_errors on;")
    gateway = start_gateway(echo_backend, edits=[edit])

    assert is_page(gateway.get("/status/404", HTML), 404)


# --- The pages themselves


@pytest.mark.parametrize("target", ["/.kit-error/page.html", "/.kit-error/.json", "/.kit-error/"])
def test_pages_have_no_address_of_their_own(gateway: Gateway, target: str) -> None:
    reply = gateway.get(target)

    assert reply.status == 404
    assert b"404" in reply.body


def test_nothing_that_the_client_sent_stands_on_a_page(gateway: Gateway) -> None:
    script = '<script>alert(1)</script><!--#echo var="http_cookie" -->'
    for headers in ([HTML], [JSON]):
        reply = cause(gateway, 413, f"/?{script}".replace(" ", "%20"), *headers, f"Cookie: {script}", f"X-Request-ID: {script}")

        assert reply.status == 413
        assert b"script" not in reply.body
        assert b"alert" not in reply.body


def test_a_page_may_have_styles_and_no_script(gateway: Gateway) -> None:
    first, second = cause(gateway, 413, "/").values("Content-Security-Policy")

    assert "style-src 'self' 'unsafe-inline'" in first
    assert "default-src 'none'" in first
    assert "script" not in first + second


def test_every_status_with_a_page_has_its_words() -> None:
    """Whatever error_page names stands in both maps."""
    text = "".join((ROOT / "nginx" / name).read_text() for name in ("nginx.conf", "conf.d/40-error-pages.conf"))
    named = set(re.findall(r"\d{3}", " ".join(re.findall(r"(?m)^ *error_page ([^;]*);", text)))) - {"494"}
    blocks = re.findall(r"map \S+ \$kit_error_(?:title|detail) \{([^}]*)\}", text)
    title, detail = (set(re.findall(r"(?m)^ +(\d{3}) ", block)) for block in blocks)

    assert title == detail == named


def test_the_waf_has_the_same_pages_for_large_uploads() -> None:
    """All but the one for 502."""
    gateway, waf = (
        re.findall(r"(?m)^ *(error_page 400 .*;)$", (ROOT / name).read_text())
        for name in ("nginx/conf.d/40-error-pages.conf", "waf/conf.d/50-waf.conf")
    )

    assert len(gateway) == 1
    assert gateway == waf


def test_problem_is_json_whatever_is_filled_in() -> None:
    """The words go into JSON as they are, so none may need escaping, there or in HTML."""
    text = (ROOT / "nginx/conf.d/40-error-pages.conf").read_text()
    for words in re.findall(r'"([A-Z][^"]*)"', text):
        assert json.loads(f'"{words}"') == words
        assert not set(words) & set("<>&'\\")


# --- A full disk


def test_request_id_of_an_error_is_in_the_log(gateway: Gateway) -> None:
    (request_id,) = cause(gateway, 413, "/api/entries").values("X-Request-ID")
    line = wait_until(lambda: gateway.logged(request_id), "the error is logged")

    assert (line["method"], line["uri"], line["status"]) == ("POST", "/api/entries", 413)
