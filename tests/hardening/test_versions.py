"""No answer tells a version, whoever gave it: the app, a file, the firewall, a limit, or nginx where it cannot do what was asked."""

import shutil
from collections.abc import Iterator
from socket import socket

import httpx
import pytest

from tests.gateways import Gateways
from tests.hardening.versions import tells_version
from tests.nginx.backends import RawBackend, Seen, hang_up
from tests.nginx.gateway import Answer, Gateway
from tools.local.nginx import Edit

pytestmark = pytest.mark.runtimes("compose")

# So that every answer is met within seconds: the budget is not refilled, and nobody waits for the app for 35 s.
EDITS = [
    Edit("templates/30-limits.conf.template", r"rate=\S+r/s", "rate=1r/m"),
    Edit("templates/upstream/app.conf.template", r"^proxy_read_timeout .*", "proxy_read_timeout 300ms;"),
    # What nothing in the kit makes nginx itself answer.
    Edit(
        "templates/60-site.conf.template",
        r"^    location / \{",
        r"    location = /closed { return 503; }\n    location = /forbidden { deny all; }\n    location = /untyped { return 415; }\n\g<0>",
    ),
]
BURST = 40
SETTINGS = {"LIMITS": "on", "LIMIT_BURST": str(BURST), "TRUSTED_PROXIES": "127.0.0.1"}
# Of a request whose body does not fit into memory and has no folder to go to.
BODY = 100_000
# The request line and header of what is answered so; a client of its own for each, by X-Forwarded-For.
CAUSES = {
    200: "GET / HTTP/1.1",
    206: "GET /static/app.css HTTP/1.1\r\nRange: bytes=0-1",
    400: "GET /a%00b HTTP/1.1",
    403: "GET /forbidden HTTP/1.1",
    404: "GET /.kit-error/page.html HTTP/1.1",
    405: "TRACE / HTTP/1.1",
    413: "POST / HTTP/1.1\r\nContent-Length: 10485761",
    414: f"GET /{'x' * 8200} HTTP/1.1",
    415: "GET /untyped HTTP/1.1",
    416: "GET /static/app.css HTTP/1.1\r\nRange: bytes=900-901",
    431: f"GET / HTTP/1.1\r\nX-Long: {'x' * 8200}",
    507: f"POST /upload HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {BODY}\r\n\r\n{'x' * BODY}",
    501: "POST / HTTP/1.1\r\nTransfer-Encoding: gzip",
    502: "POST /hang-up HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    503: "GET /closed HTTP/1.1",
    504: "GET /silence HTTP/1.1",
    505: "GET / HTTP/3.7",
}


def talkative(connection: socket, seen: Seen) -> None:
    """An app server that says what it is, that hangs up, or that says nothing."""
    if seen.target == "/hang-up":
        hang_up(connection, seen)
    if seen.target != "/silence":
        connection.sendall(b"HTTP/1.1 200 OK\r\nServer: gunicorn/27.0.1\r\nContent-Length: 2\r\n\r\nok")


@pytest.fixture
def backend() -> Iterator[RawBackend]:
    with RawBackend(talkative) as backend:
        yield backend


def answers(gateway: Gateway) -> dict[int, Answer]:
    """One answer of each status: those of CAUSES, 421 and 429."""
    (gateway.folder / "static" / "app.css").write_text("body{}")
    shutil.rmtree(gateway.folder / "run" / "body")
    found = {}
    for number, cause in enumerate([*CAUSES.values(), *["GET / HTTP/1.1"] * (BURST + 2)], 1):
        line, *rest = cause.split("\r\n", 1)
        client = number if number <= len(CAUSES) else 250
        head = [line, "Host: localhost", "Accept: text/html", f"X-Forwarded-For: 203.0.113.{client}", "Connection: close", *rest]
        end = [] if "\r\n\r\n" in cause else ["", ""]
        answer = gateway.send("\r\n".join([*head, *end]).encode())
        found[answer.status] = answer
    found[421] = gateway.get("/", host="evil.example")
    return found


def telling(found: dict[int, Answer]) -> set[int]:
    """The statuses of the answers that tell a version, in a header or in the body."""
    return {status for status, answer in found.items() if tells_version(answer.headers, answer.body)}


def test_no_answer_tells_a_version(start_gateway: Gateways, backend: RawBackend) -> None:
    found = answers(start_gateway(backend.address, SETTINGS, EDITS))

    assert set(found) == {*CAUSES, 421, 429}
    assert telling(found) == set()
    assert {tuple(answer.values("Server")) for answer in found.values()} == {("nginx",)}


def test_with_server_tokens_each_would(start_gateway: Gateways, backend: RawBackend) -> None:
    """The twin: the same answers as nginx gives them by default."""
    edits = [*EDITS, Edit("templates/25-headers.conf.template", "server_tokens off", "server_tokens on")]
    found = answers(start_gateway(backend.address, SETTINGS, edits))

    assert telling(found) == {*CAUSES, 421, 429}


@pytest.mark.stack_env(LAB_ENABLED="1")
def test_a_mistake_in_the_application_tells_no_version(client: httpx.Client) -> None:
    """Its 500, as a page and as JSON; its 503 is met in tests/bad_input/test_database_away.py."""
    answers = [client.get("/lab/lifecycle?fail=1", headers={"Accept": kind}) for kind in ("text/html", "application/json")]

    assert [answer.status_code for answer in answers] == [500, 500]
    assert not any(tells_version(answer.headers.items(), answer.content) for answer in answers)
