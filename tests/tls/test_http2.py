"""HTTP/2 requests that HTTP/1.1 would read differently: what nginx passes on to gunicorn is one clean request or none.

nginx writes HTTP/1.1 to gunicorn. A header of HTTP/2 may hold any bytes, so a line end in one, or a length that is not the body's, would
become a second request there.
"""

import json
import re
import uuid
from collections.abc import Sequence

import h2.config
import h2.connection
import h2.errors
import h2.events
import pytest

from tests.nginx.gateway import ROOT
from tests.smuggling.corpus import SMUGGLED
from tests.smuggling.wire import Recorder
from tests.tls.tls import TlsGateway

Fields = Sequence[tuple[bytes, bytes]]
PSEUDO = ((b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"localhost"), (b":path", b"/h2"))
POST = ((b":method", b"POST"), *PSEUDO[1:])
HIDDEN = b"0\r\n\r\n" + SMUGGLED


def without(name: bytes) -> Fields:
    return [field for field in PSEUDO if field[0] != name]


def changed(name: bytes, value: bytes) -> Fields:
    return [(key, value if key == name else old) for key, old in PSEUDO]


# name -> (header fields, body): nothing of these may reach the application as anything but this one request.
REFUSED: dict[str, tuple[Fields, bytes]] = {
    "line end in a value": ((*PSEUDO, (b"x", b"a\r\nx-forwarded-for: 6.6.6.6")), b""),
    "line feed in a value": ((*PSEUDO, (b"x", b"a\nx-forwarded-for: 6.6.6.6")), b""),
    "request in a value": ((*PSEUDO, (b"x", b"a\r\n\r\n" + SMUGGLED)), b""),
    "nul in a value": ((*PSEUDO, (b"x", b"a\x00b")), b""),
    "line end in a name": ((*PSEUDO, (b"x\r\ny", b"a")), b""),
    "colon in a name": ((*PSEUDO, (b"x: y", b"a")), b""),
    "upper case in a name": ((*PSEUDO, (b"X-Upper", b"a")), b""),
    "line end in the path": (changed(b":path", b"/h2 HTTP/1.1\r\nHost: evil\r\n\r\n"), b""),
    "space in the path": (changed(b":path", b"/h2 HTTP/1.1"), b""),
    "nul in the path": (changed(b":path", b"/h2\x00"), b""),
    "no slash before the path": (changed(b":path", b"h2"), b""),
    "empty path": (changed(b":path", b""), b""),
    "dot segment": (changed(b":path", b"/a/../healthz"), b""),
    "line end in the method": (changed(b":method", b"GET /smuggled HTTP/1.1\r\nx: y"), b""),
    "space in the method": (changed(b":method", b"GET /smuggled"), b""),
    "lower-case method": (changed(b":method", b"get"), b""),
    "connect": (changed(b":method", b"CONNECT"), b""),
    "line end in the host": (changed(b":authority", b"localhost\r\nx: y"), b""),
    "other host": (changed(b":authority", b"evil.example"), b""),
    "user in the host": (changed(b":authority", b"localhost@evil.example"), b""),
    "host beside the authority": ((*PSEUDO, (b"host", b"evil.example")), b""),
    "no method": (without(b":method"), b""),
    "no path": (without(b":path"), b""),
    "no scheme": (without(b":scheme"), b""),
    "two paths": ((*PSEUDO, (b":path", b"/smuggled")), b""),
    "two methods": ((*PSEUDO, (b":method", b"POST")), b""),
    "unknown pseudo header": ((*PSEUDO, (b":x", b"y")), b""),
    "pseudo header in the middle": ((*PSEUDO[:3], (b"x", b"y"), PSEUDO[3], (b":path", b"/smuggled")), b""),
    "length too large": ((*POST, (b"content-length", b"99")), b"hello"),
    "length too small": ((*POST, (b"content-length", b"0")), SMUGGLED),
    "two lengths": ((*POST, (b"content-length", b"5"), (b"content-length", b"0")), b"hello"),
    "length with a plus": ((*POST, (b"content-length", b"+5")), b"hello"),
    "length that overflows": ((*POST, (b"content-length", b"18446744073709551621")), b"hello"),
}
# These are either refused, or left out of what is passed on: then the body is the frames', whatever they say.
HARMLESS: dict[str, tuple[Fields, bytes]] = {
    "coding": ((*POST, (b"transfer-encoding", b"chunked")), HIDDEN),
    "coding and length": ((*POST, (b"transfer-encoding", b"chunked"), (b"content-length", b"%d" % len(HIDDEN))), HIDDEN),
    "connection": ((*POST, (b"connection", b"transfer-encoding")), HIDDEN),
    "keep-alive": ((*POST, (b"keep-alive", b"timeout=5")), HIDDEN),
    "proxy-connection": ((*POST, (b"proxy-connection", b"keep-alive")), HIDDEN),
    "upgrade": ((*POST, (b"upgrade", b"h2c")), HIDDEN),
    "te": ((*POST, (b"te", b"chunked")), HIDDEN),
    "http2-settings": ((*POST, (b"http2-settings", b"AAMAAABk")), HIDDEN),
    "body without a length": (POST, HIDDEN),
    "body of a GET": (PSEUDO, HIDDEN),
    "underscores": ((*POST, (b"transfer_encoding", b"chunked")), HIDDEN),
}


def ask(gateway: TlsGateway, fields: Fields, body: bytes = b"") -> tuple[int | None, bytes]:
    """Send these very fields on a connection of their own; (status, body), or (None, b"") when the stream or the connection was ended."""
    context = gateway.context()
    context.set_alpn_protocols(["h2"])
    # Nothing is checked or corrected on the way out: wrong is what is meant.
    lax = h2.config.H2Configuration(
        validate_outbound_headers=False, normalize_outbound_headers=False, validate_inbound_headers=False, header_encoding=None
    )
    with gateway.connect(context) as secured:
        assert secured.selected_alpn_protocol() == "h2"
        connection = h2.connection.H2Connection(lax)
        connection.initiate_connection()
        connection.send_headers(1, list(fields), end_stream=not body)
        if body:
            connection.send_data(1, body, end_stream=True)
        secured.sendall(connection.data_to_send())
        status, answer = None, b""
        while data := secured.recv(65536):
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    status = int(dict(event.headers)[b":status"])
                elif isinstance(event, h2.events.DataReceived):
                    answer += event.data
                elif isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
                    return status if answer else None, answer
                elif isinstance(event, h2.events.StreamEnded):
                    return status, answer
    return None, b""


def canary(gateway: TlsGateway) -> None:
    """A request of somebody else gets its own answer."""
    path = f"/canary/{uuid.uuid4().hex}".encode()
    status, answer = ask(gateway, changed(b":path", path))
    assert status == 200
    assert json.loads(answer)["path"].encode() == path


def others(recorder: Recorder, mark: int) -> list[tuple[str, str, bytes]]:
    """What reached the application since `mark`, beside the canaries."""
    arrived = [(record["method"], record["path"], record["body"].encode("latin-1")) for record in recorder.since(mark)]
    return [request for request in arrived if not request[1].startswith("/canary/")]


def test_http2_is_spoken(gateway: TlsGateway) -> None:
    assert ask(gateway, PSEUDO)[0] == 200


def test_two_visitors_of_one_address_are_below_its_limit(gateway: TlsGateway) -> None:
    """A browser asks for as many pictures at once as this says, and each is a connection for limit_conn."""
    context = gateway.context()
    context.set_alpn_protocols(["h2"])
    connection = h2.connection.H2Connection()
    connection.initiate_connection()
    with gateway.connect(context) as secured:
        secured.sendall(connection.data_to_send())
        while not any(isinstance(event, h2.events.RemoteSettingsChanged) for event in connection.receive_data(secured.recv(65536))):
            pass
    (most,) = re.findall(r"LIMIT_CONNECTIONS:-(\d+)", (ROOT / "nginx/docker-entrypoint.d/10-defaults.envsh").read_text())

    assert 2 * connection.remote_settings.max_concurrent_streams <= int(most)


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_be_another_request_is_refused(gateway: TlsGateway, recorder: Recorder, case: str) -> None:
    mark = recorder.mark()
    status, _ = ask(gateway, *REFUSED[case])
    canary(gateway)

    assert status in {None, 400, 405, 421}
    assert others(recorder, mark) == []


@pytest.mark.parametrize("case", HARMLESS)
def test_headers_of_one_hop_change_nothing(gateway: TlsGateway, recorder: Recorder, case: str) -> None:
    mark = recorder.mark()
    fields, body = HARMLESS[case]
    status, _ = ask(gateway, fields, body)
    canary(gateway)

    if status == 200:
        assert others(recorder, mark) == [(dict(fields)[b":method"].decode(), "/h2", body)]
    else:
        assert status in {None, 400}
        assert others(recorder, mark) == []
