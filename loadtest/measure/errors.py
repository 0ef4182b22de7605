"""Names for what went wrong with a request: few, so that they can be counted and shown by kind."""

import errno
from http import HTTPStatus
from typing import Any

from locust.exception import CatchResponseError, ResponseError

_LOST = "connection lost"
# By the number of the socket's error, or the name of the client's.
_KINDS: dict[int | str, str] = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: _LOST,
    errno.EPIPE: _LOST,
    errno.ECONNABORTED: _LOST,
    "HTTPConnectionClosed": _LOST,
    "RemoteDisconnected": _LOST,
    errno.EADDRNOTAVAIL: "generator: no ports left",
    errno.EMFILE: "generator: no files left",
}


def kind_of(error: BaseException, response: Any = None) -> str:
    """Return the kind of a failed request: "status 502", "wrong answer", "timeout", "refused", "connection lost", …"""
    status = getattr(response, "status_code", 0) or 0
    if status >= HTTPStatus.BAD_REQUEST:
        return f"status {status}"
    lost = getattr(response, "error", None)  # a check that found no body: why there is none says more
    if not status and isinstance(lost, BaseException):
        error = lost
    elif isinstance(error, CatchResponseError | ResponseError):
        return f"wrong answer: {error}"[:120] if str(error) else "wrong answer"
    cause = _cause(error)
    if isinstance(cause, TimeoutError) or "timed out" in str(cause).lower():
        return "timeout"
    return _KINDS.get(getattr(cause, "errno", None) or type(cause).__name__, type(cause).__name__)


def _cause(error: BaseException) -> BaseException:
    """Return the innermost error: Locust's client wraps what the socket said."""
    for name in ("original", "__cause__", "__context__"):
        inner = getattr(error, name, None)
        if isinstance(inner, BaseException):
            return _cause(inner)
    return error
