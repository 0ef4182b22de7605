"""HTTP/3, as an opt-in: a real client gets the same site over QUIC, and nobody does without LISTENERS=http3."""

import asyncio
import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import QuicEvent

from tests.nginx.gateway import HOST
from tests.tls.conftest import StartTls
from tests.tls.tls import TlsGateway
from tools.local import nginx

# Debian 12's nginx has no HTTP/3.
pytestmark = pytest.mark.runtimes("compose")
PATIENCE_S = 20


class Client(QuicConnectionProtocol):
    """One connection; each answer is (header fields, body)."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._http = H3Connection(self._quic)
        self._answer: asyncio.Future[tuple[dict[bytes, bytes], bytes]] = asyncio.get_running_loop().create_future()
        self._fields: dict[bytes, bytes] = {}
        self._body = b""

    async def ask(self, authority: str, path: str) -> tuple[dict[bytes, bytes], bytes]:
        stream = self._quic.get_next_available_stream_id()
        names = {b":method": b"GET", b":scheme": b"https", b":authority": authority.encode(), b":path": path.encode()}
        self._http.send_headers(stream, list(names.items()), end_stream=True)
        self.transmit()
        return await asyncio.wait_for(self._answer, PATIENCE_S)

    def quic_event_received(self, event: QuicEvent) -> None:
        for message in self._http.handle_event(event):
            if isinstance(message, HeadersReceived):
                self._fields = dict(message.headers)
            elif isinstance(message, DataReceived):
                self._body += message.data
            if getattr(message, "stream_ended", False) and not self._answer.done():
                self._answer.set_result((self._fields, self._body))


def ask(
    port: int, trusted: Path, path: str, *, name: str = "localhost", host: str | None = None
) -> tuple[int, Mapping[bytes, bytes], bytes]:
    """GET over HTTP/3; (status, header fields, body)."""

    async def run() -> tuple[dict[bytes, bytes], bytes]:
        settings = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name=name, cafile=str(trusted))
        async with connect(HOST, port, configuration=settings, create_protocol=Client) as client:
            assert isinstance(client, Client)
            return await client.ask(host or f"{name}:{port}", path)

    fields, body = asyncio.run(run())
    return int(fields[b":status"]), fields, body


@pytest.fixture
def http3(start_tls: StartTls) -> TlsGateway:
    return start_tls(LISTENERS="http3")


def test_the_site_is_there_over_http3(http3: TlsGateway) -> None:
    status, fields, body = ask(http3.port, http3.authority, "/a%2Fb?x=y")
    arrived = json.loads(body)

    assert status == 200
    assert arrived["path"] == "/a/b"
    assert (arrived["headers"]["x_forwarded_proto"], arrived["headers"]["host"]) == ("https", f"localhost:{http3.port}")
    assert fields[b"alt-svc"].decode() == f'h3=":{http3.port}"; ma=86400'
    line = next(line for line in http3.plain.access_log() if line["uri"] == "/a%2Fb?x=y")
    assert line["protocol"] == "HTTP/3.0"


def test_an_unknown_host_is_refused_there_too(http3: TlsGateway) -> None:
    assert ask(http3.port, http3.authority, "/", host="evil.example")[0] == 421
    with pytest.raises(ConnectionError):
        ask(http3.port, http3.authority, "/", name="evil.example")


def test_browsers_learn_of_it_over_tls_alone(http3: TlsGateway, gateway: TlsGateway) -> None:
    assert http3.get("/").values("alt-svc") == [f'h3=":{http3.port}"; ma=86400']
    assert http3.plain.get("/").values("alt-svc") == []
    assert gateway.get("/").values("alt-svc") == []


@pytest.mark.parametrize(("listeners", "address"), [("tls", "127.0.0.1"), ("http3", "*")])
def test_without_the_setting_it_listens_on_the_containers_loopback_alone(tmp_path: Path, listeners: str, address: str) -> None:
    assert nginx.fill("nginx", tmp_path, {"LISTENERS": listeners}).returncode == 0
    text = "".join(path.read_text() for path in (tmp_path / "run/conf/tls").iterdir())

    assert re.findall(r"listen (.*):8443 quic\b", text) == [address] * 2
