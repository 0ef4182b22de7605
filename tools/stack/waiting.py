"""Wait for a condition, never for a time."""

import http.client
import ssl
import time
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from tools.stack.base import StackError

POLL_S = 0.05
# One answer; a health check that takes longer is as bad as none.
ANSWER_TIMEOUT_S = 5


def wait_until(condition: Callable[[], bool], timeout_s: float, message: str, *, poll_s: float = POLL_S) -> None:
    """Return when `condition` holds; raise StackError(message) when it does not within `timeout_s`. Looks every `poll_s` seconds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise StackError(f"{message} within {timeout_s:g} s")
        time.sleep(poll_s)


def answers_ok(url: str, settings: Mapping[str, str]) -> bool:
    """Ask once; say whether the answer's status is 200."""
    address = urlsplit(url)
    connection = connect(address.scheme, address.hostname or "", address.port)
    # A name that the gateway takes for its own: where SERVER_NAMES is a domain, it refuses 127.0.0.1.
    names = (settings.get("SERVER_NAMES") or "localhost").split()
    host = names[0].replace("*", "www") if not names[0].startswith(".") else names[0][1:]
    try:
        connection.request("GET", address.path, headers={"Host": host})
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


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
    return settings.get("HEALTH_PATH") or "/healthz"


def ready_path(settings: Mapping[str, str]) -> str:
    """Where the app says that its database is up too; an application with a health path of its own may have only that."""
    return settings.get("HEALTH_PATH") or "/readyz"
