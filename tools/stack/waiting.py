"""Wait for a condition, never for a time."""

import http.client
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from tools.stack.base import StackError

POLL_S = 0.05
# One answer; a health check that takes longer is as bad as none.
ANSWER_TIMEOUT_S = 5
REDIRECTS = (301, 302, 303, 307, 308)


def wait_until(condition: Callable[[], bool], timeout_s: float, message: str | Callable[[], str], *, poll_s: float = POLL_S) -> None:
    """Return when `condition` holds; raise StackError(message) when it does not within `timeout_s`. Looks every `poll_s` seconds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise StackError(f"{message if isinstance(message, str) else message()} within {timeout_s:g} s")
        time.sleep(poll_s)


def wait_for_answer(url: str, settings: Mapping[str, str], timeout_s: float, check: Callable[[], object] = lambda: None) -> None:
    """Return when `url` answers as it should; StackError, with what it last said, when it does not in time. `check` may raise before."""

    def answers() -> bool:
        check()
        return answers_ok(url, settings)

    wait_until(answers, timeout_s, lambda: f"{url} does not answer with 200, but: {ask(url, settings)[1]};")


def answers_ok(url: str, settings: Mapping[str, str]) -> bool:
    """Ask once; say whether the site is there."""
    return ask(url, settings)[0]


def ask(url: str, settings: Mapping[str, str]) -> tuple[bool, str]:
    """Ask once, as a visitor would; return whether the site is there, and its first line in words.

    200, or a redirect to https where this is plain HTTP: the TLS is a load balancer's, and the application insists on it.
    """
    address = urlsplit(url)
    connection = connect(address.scheme, address.hostname or "", address.port)
    if settings.get("PROXY_PROTOCOL") == "on":
        connection._create_connection = _as_load_balancer  # type: ignore[attr-defined] # noqa: SLF001 - before a TLS handshake too
    # A name that the gateway takes for its own: where SERVER_NAMES is a domain, it refuses 127.0.0.1.
    host = (settings.get("SERVER_NAMES") or "localhost").split()[0].replace("*", "www").lstrip(".")
    try:
        connection.request("GET", address.path, headers={"Host": host, "X-Forwarded-Proto": "https"})
        answer = connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        return False, f"{type(error).__name__}: {error}"
    finally:
        connection.close()
    to_https = address.scheme == "http" and answer.status in REDIRECTS and (answer.getheader("Location") or "").startswith("https://")
    location = f", Location: {answer.getheader('Location')}" if answer.getheader("Location") else ""
    return answer.status == http.HTTPStatus.OK or to_https, f"{answer.status} {answer.reason}{location}"


def _as_load_balancer(address: tuple[str, int], *_how: object) -> socket.socket:
    """Connect as a load balancer does that speaks the PROXY protocol and checks the health of the site."""
    connection = socket.create_connection(address, ANSWER_TIMEOUT_S)
    connection.sendall(b"PROXY UNKNOWN\r\n")
    return connection


def connect(scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
    """Return an unopened connection to this machine's own gateway, whose certificate is not judged: it may be self-signed."""
    if scheme == "http":
        return http.client.HTTPConnection(host, port, timeout=ANSWER_TIMEOUT_S)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(host, port, timeout=ANSWER_TIMEOUT_S, context=context)


def alive_path(settings: Mapping[str, str]) -> str:
    """Where an app says that it is up."""
    return settings.get("URL_PREFIX", "") + (settings.get("HEALTH_PATH") or "/healthz")


def ready_path(settings: Mapping[str, str]) -> str:
    """Where the sample site says that its database is up too; of another application only the health path is known."""
    return alive_path(settings) if settings.get("HEALTH_PATH") or settings.get("APP_MODULE") else settings.get("URL_PREFIX", "") + "/readyz"
