"""A client may send back the ETag that it got with a compressed answer."""

from collections.abc import Iterator
from socket import socket

import pytest

from tests.nginx.backends import RawBackend, Seen
from tests.nginx.conftest import Gateways
from tools.local.nginx import Edit

DOCUMENT = b'{"text": "' + b"hello " * 400 + b'"}'


def tagged(connection: socket, _: Seen) -> None:
    """A document over the size from which answers are compressed."""
    head = f'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nETag: "v1"\r\nContent-Length: {len(DOCUMENT)}\r\n\r\n'
    connection.sendall(head.encode() + DOCUMENT)


@pytest.fixture
def backend() -> Iterator[RawBackend]:
    with RawBackend(tagged) as backend:
        yield backend


@pytest.mark.parametrize("coding", ["gzip", "br", "identity"])
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_the_app_gets_its_own_tag_back(start_gateway: Gateways, backend: RawBackend, coding: str, method: str) -> None:
    gateway = start_gateway(backend.address)
    (tag,) = gateway.get("/doc", f"Accept-Encoding: {coding}").values("ETag")
    gateway.request(method, "/doc", f"If-Match: {tag}")

    assert backend.seen[-1].headers["if-match"] == '"v1"'


def test_without_that_it_would_get_a_weak_one(start_gateway: Gateways, backend: RawBackend) -> None:
    """The twin: If-Match never matches a weak tag (RFC 9110, 13.1.1), so the client would get 412."""
    gateway = start_gateway(backend.address, edits=[Edit("templates/snippets/proxy.conf.template", r"^proxy_set_header If-Match .*", "")])
    (tag,) = gateway.get("/doc", "Accept-Encoding: gzip").values("ETag")
    gateway.request("PUT", "/doc", f"If-Match: {tag}")

    assert backend.seen[-1].headers["if-match"] == 'W/"v1"'


@pytest.mark.parametrize("given", ['"v1"', "*", '"v1", "v2"', 'W/"v1", W/"v2"', 'W/"v1', "W/v1", 'w/"v1"'])
def test_any_other_list_passes_as_it_came(start_gateway: Gateways, backend: RawBackend, given: str) -> None:
    gateway = start_gateway(backend.address)
    gateway.request("PUT", "/doc", f"If-Match: {given}")
    gateway.request("PUT", "/doc")

    assert [seen.headers.get("if-match") for seen in backend.seen] == [given, None]
