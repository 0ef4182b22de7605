"""Drop requests whose client closed its connection while they waited in the listen backlog.

Visitors who wait give up and try again. nginx closes its connection to gunicorn, but the request is complete in the backlog,
and gunicorn would work through all of them for nobody: an overload that outlives its cause.
"""

import contextlib
import errno
import socket
from typing import Any

CLOSED = (7, 8)  # TCP_CLOSE: reset; TCP_CLOSE_WAIT: the other side has closed (include/net/tcp_states.h)


def drop(worker: Any, request: Any) -> None:
    """Close before the view begins. Unknown on a unix socket, and to tornado, which has no such hook.

    A client that closes only its sending side looks the same; nginx and the health check never do that.
    """
    state = 0
    with contextlib.suppress(AttributeError, OSError):  # not Linux, or not TCP
        state = request.unreader.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    if state in CLOSED:
        worker.log.debug("%s: the client has closed its connection", request.path)
        raise ConnectionResetError(errno.ECONNRESET, "the client has closed its connection")  # gunicorn logs nothing
