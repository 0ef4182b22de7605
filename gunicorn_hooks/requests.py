"""Around each request: one that nobody waits for is dropped, half a body is refused, and what the view left unread of one is read."""

import contextlib
import errno
import socket
from typing import Any

CLOSED = (7, 8)  # TCP_CLOSE: reset; TCP_CLOSE_WAIT: the other side has closed (include/net/tcp_states.h)
STEP = 65536  # bytes in memory at once


def drop_abandoned(worker: Any, request: Any) -> None:
    """Drop it before the view begins, when its client closed the connection while it waited in the listen backlog.

    Visitors who wait give up and try again: gunicorn would work through all that they left, an overload that outlives its cause.
    Unknown on a unix socket, and to tornado. A client that closes only its sending side looks the same; nginx never does.
    """
    state = 0
    with contextlib.suppress(AttributeError, OSError):  # not Linux, or not TCP
        state = request.unreader.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    if state in CLOSED:
        worker.log.debug("%s: the client has closed its connection", request.path)
        raise ConnectionResetError(errno.ECONNRESET, "the client has closed its connection")  # gunicorn logs nothing


def refuse_half_bodies(worker: Any) -> None:
    """Have Flask answer 400 to less than Content-Length: gunicorn says that it does (wsgi.input_terminated), and takes half for whole."""
    application = worker.wsgi

    def checked(environ: dict[str, Any], start_response: Any) -> Any:
        if environ.get("CONTENT_LENGTH"):
            environ.pop("wsgi.input_terminated", None)  # tornado says nothing
        return application(environ, start_response)

    worker.wsgi = checked


def drain_body(_worker: Any, request: Any, _environ: Any, _response: Any) -> None:
    """Read to the end, after the answer and before gunicorn closes or takes the next request. tornado reads before the view.

    A view that answers without reading leaves nginx in the middle of sending: gunicorn closes, nginx's next write fails, and it drops the
    answer (502 for 28 to 88 % at 10 MB; docs/bodies.md), or cuts off a large one. No wait: nginx has the whole body before it connects.
    """
    with contextlib.suppress(OSError):  # nginx has its answer and closed
        while request.body.read(STEP):
            pass
