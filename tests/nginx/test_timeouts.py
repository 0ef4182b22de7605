"""Clients that stop in the middle. The times are shortened; that gunicorn is not held meanwhile is shown in tests/slow_clients."""

from contextlib import closing, suppress

import pytest

from tests.nginx.backends import RawBackend, answer
from tests.nginx.conftest import Gateways
from tests.nginx.gateway import Gateway
from tools.local.nginx import Edit

STALLED = {
    "client_header_timeout": b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Requ",
    "client_body_timeout": b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nx",
}


def shortened(*names: str) -> list[Edit]:
    return [Edit("templates/20-slow-clients.conf.template", rf"^{name} .*", f"{name} 300ms;") for name in names]


def ends(gateway: Gateway, request: bytes, *, within_s: float) -> bool:
    """Send a part of a request and say whether nginx ends the connection, without an answer, in this time."""
    with closing(gateway.connect()) as connection:
        connection.settimeout(within_s)
        connection.sendall(request)
        try:
            with suppress(ConnectionResetError):
                assert connection.recv(1000) == b""
        except TimeoutError:
            return False
        return True


@pytest.mark.parametrize("name", STALLED)
def test_stalled_request_is_ended_and_never_reaches_the_app(start_gateway: Gateways, name: str) -> None:
    with RawBackend(answer) as backend:
        gateway = start_gateway(backend.address, edits=shortened(name))

        assert ends(gateway, STALLED[name], within_s=20)
        assert backend.seen == []
    assert [line["status"] for line in gateway.access_log()] == [408]


@pytest.mark.parametrize("name", STALLED)
def test_stalled_request_is_given_time(start_gateway: Gateways, name: str) -> None:
    """The twin: with the kit's own times it is still there when the shortened one would have ended it."""
    with RawBackend(answer) as backend:
        assert not ends(start_gateway(backend.address), STALLED[name], within_s=2)
