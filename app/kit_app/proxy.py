"""Believe X-Forwarded-* from the gateway, and from nobody else."""

import ipaddress
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from kit_app.settings import Network

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class TrustedProxy:
    """WSGI middleware: ProxyFix for one hop when the peer is in `trusted`.

    ProxyFix alone believes every peer: whoever reaches gunicorn directly could then choose its address and scheme.
    """

    def __init__(self, app: "WSGIApplication", trusted: Sequence[Network]) -> None:
        self._direct = app
        self._forwarded = ProxyFix(app, x_for=1, x_proto=1, x_host=1)
        self._trusted = trusted

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        app = self._forwarded if self._trusts(environ.get("REMOTE_ADDR", "")) else self._direct
        return app(environ, start_response)

    def _trusts(self, peer: str) -> bool:
        try:
            address = ipaddress.ip_address(peer)
        except ValueError:  # a unix socket has no address
            return False
        if isinstance(address, ipaddress.IPv6Address):
            # A listener on [::] sees IPv4 peers as ::ffff:10.0.0.1.
            address = address.ipv4_mapped or address
        return any(address in network for network in self._trusted)


def init_app(app: Flask, trusted: Sequence[Network]) -> None:
    """Apply the forwarded headers of `trusted` peers to every request of `app`."""
    app.wsgi_app = TrustedProxy(app.wsgi_app, trusted)  # type: ignore[method-assign]
