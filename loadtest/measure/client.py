"""Locust's HTTP client with less work for each request; what is sent, received and reported stays the same.

What a request costs the generator is time in which another one is not sent.
"""

from functools import cached_property, lru_cache
from select import POLLIN
from typing import Any

from gevent.monkey import get_original
from geventhttpclient.client import HTTPClient, HTTPClientPool
from geventhttpclient.connectionpool import ConnectionPool
from geventhttpclient.url import URL
from locust import FastHttpUser
from locust.contrib.fasthttp import FastRequest

REMEMBERED = 100  # requests whose URL or head is not built anew; scenarios repeat themselves

_poll = get_original("select", "poll")

# geventhttpclient sends a GET again when its connection breaks, once more than the pool is large, and Locust counts one success. A lost
# request is a failure here, as with requests' client. The semaphore, not this number, bounds the connections.
ConnectionPool.size = property(lambda _pool: -1, lambda _pool, _size: None)  # type: ignore[assignment]


def patch_client(user: FastHttpUser) -> None:
    """Have this user's client use the classes below."""
    agent = user.client.client
    agent.request_type = _Request  # type: ignore[misc] # of this agent alone
    if user.client_pool is None:  # else it is of the scenario's making, and shared
        agent.clientpool = _ClientPool(**agent.clientpool.client_args)


def _once(name: str) -> Any:
    return cached_property(vars(URL)[name].fget)


class _Url(URL):
    """Each part is taken from the text once: a URL never changes."""

    host, port = _once("host"), _once("port")
    request_uri, quoted_uri = _once("request_uri"), _once("quoted_uri")


_url = lru_cache(REMEMBERED)(_Url)


class _Request(FastRequest):
    def set_url(self, url: Any, params: Any = None) -> None:
        known = _url(url) if isinstance(url, str) and params is None else url
        super().set_url(known, params)
        if known is not url:
            self.url = url  # as it was written


class _ClientPool(HTTPClientPool):
    def get_client(self, url: Any) -> HTTPClient:
        key = url.host, url.port
        if key not in self.clients:
            self.clients[key] = _Client.from_url(url, **self.client_args)
        return self.clients[key]


class _Client(HTTPClient):
    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._connection_pool._is_socket_alive = is_quiet  # type: ignore[method-assign] # noqa: SLF001 - it has no public setting
        self._heads: dict[Any, str] = {}

    def _build_request(self, method: str, request_uri: str, body: Any = b"", headers: Any = None, chunked: Any = None) -> str:
        if body or chunked or not headers:
            return super()._build_request(method, request_uri, body, headers, chunked)
        key = method, request_uri, *headers.items()
        if key not in self._heads:
            if len(self._heads) >= REMEMBERED:
                self._heads.clear()
            self._heads[key] = super()._build_request(method, request_uri, body, headers, chunked)
        return self._heads[key]


def is_quiet(sock: Any) -> bool:
    """Say whether an idle connection is still open: there is nothing to read, not even its end.

    geventhttpclient asks select(), which gevent makes a pause: other greenlets have their turn between the moment that
    counts as the send and the send. And select() knows no descriptor above 1023: the connections of the thousandth visitor
    would each serve one request.
    """
    descriptor = sock.fileno()
    if descriptor < 0:
        return False
    readable = _poll()
    readable.register(descriptor, POLLIN)
    return not readable.poll(0)
