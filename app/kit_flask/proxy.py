"""Trust X-Forwarded-* from the gateway only."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from werkzeug.middleware.proxy_fix import ProxyFix

Network = IPv4Network | IPv6Network


class TrustedProxy(ProxyFix):
    """ProxyFix for one hop, if the peer is in `trusted`; without that check any client that reaches gunicorn can choose its address."""

    def __init__(self, app: WSGIApplication, trusted: Sequence[Network]) -> None:
        super().__init__(app, x_for=1, x_proto=1, x_host=1, x_prefix=1)
        self._trusted = trusted
        # The same values come with most requests, and reading them takes longer than looking them up.
        self._trusts = lru_cache(256)(self._is_trusted)
        self._get_real_value = lru_cache(1024)(super()._get_real_value)  # type: ignore[method-assign]

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        trusts = self._trusts(environ.get("REMOTE_ADDR", ""))
        return super().__call__(environ, start_response) if trusts else self.app(environ, start_response)

    def _is_trusted(self, peer: str) -> bool:
        try:
            address = ip_address(peer)
        except ValueError:  # a unix socket has no address
            return False
        if isinstance(address, IPv6Address):
            address = address.ipv4_mapped or address  # a listener on [::] sees IPv4 peers as ::ffff:10.0.0.1
        return any(address in network for network in self._trusted)
