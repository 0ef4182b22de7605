"""A gateway with TLS, and handshakes with it that are told exactly what to offer."""

import socket
import ssl
import subprocess
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import httpx

from tests.nginx.gateway import HOST, Answer, Gateway, read_answer_from


@dataclass(frozen=True, slots=True)
class TlsGateway:
    """A running gateway, and the port on which it speaks TLS."""

    plain: Gateway
    port: int
    authority: Path  # what its clients trust

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def context(self) -> ssl.SSLContext:
        """What a client of today offers, trusting this gateway's certificate alone."""
        return ssl.create_default_context(cafile=str(self.authority))

    def connect(
        self,
        context: ssl.SSLContext | None = None,
        *,
        name: str | None = "localhost",
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLSocket:
        """Shake hands for `name`; None: without saying a name, as for an address. ssl.SSLError when it is refused."""
        context = context or self.context()
        if name is None or name not in {"localhost", "127.0.0.1", "www.example.org"}:
            context.check_hostname = False
        connection = socket.create_connection((HOST, self.port), timeout=20)
        try:
            return context.wrap_socket(connection, server_hostname=name, session=session)
        except BaseException:
            connection.close()
            raise

    def get(self, path: str = "/", *headers: str, host: str = "localhost", name: str | None = "localhost") -> Answer:
        """GET over HTTP/1.1 in a handshake of its own."""
        with self.connect(name=name) as connection:
            return exchange(connection, path, *headers, host=host)

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, verify=self.context(), timeout=20)

    def serial(self) -> int:
        """The serial number of the certificate that is shown."""
        with self.connect(self.unverified()) as connection:
            return serial(connection)

    @staticmethod
    def unverified() -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context


def serial(connection: ssl.SSLSocket) -> int:
    """The serial number of the certificate that the other side showed."""
    shown = connection.getpeercert(binary_form=True)
    assert shown
    text = subprocess.run(["openssl", "x509", "-inform", "DER", "-noout", "-serial"], input=shown, capture_output=True, check=True).stdout
    return int(text.partition(b"=")[2], 16)


def exchange(connection: ssl.SSLSocket, path: str, *headers: str, host: str = "localhost") -> Answer:
    """One request and its answer over a connection that stays open."""
    connection.sendall("\r\n".join([f"GET {path} HTTP/1.1", f"Host: {host}", *headers, "", ""]).encode("latin-1"))
    stream: BinaryIO = connection.makefile("rb")
    with closing(stream):
        return read_answer_from(stream)
