"""Graceful shutdown without a reset connection (Linux).

When a connection is refused nginx tries another container, for a POST too: nothing was sent. When an accepted one breaks it
cannot. gunicorn's workers keep the listening socket open while they finish, and the kernel resets what is in its backlog at
the end. With this, on SIGTERM:

1. The master binds the listening socket to a network interface that does not exist. New connections find no socket and are
   refused; the listen backlog stays. No privilege is needed (Linux 5.7; an older kernel only gets the next steps).
2. It waits until the workers have accepted the backlog, and pending handshakes, at most BACKLOG_S.
3. It goes on as gunicorn does: SIGTERM to the workers, graceful_timeout.
4. Each worker replaces the listening socket at once, not when its last request is done.
5. With the last copy the socket is closed.

SIGHUP and max_requests do not come here: the listening socket stays. After SIGUSR2 only steps 3 to 5 are done.
"""

import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SO_BINDTOIFINDEX = 62  # include/uapi/asm-generic/socket.h
NO_INTERFACE = 2**31 - 1
BACKLOG_S = 5  # of the 10 s that stop_grace_period leaves beyond graceful_timeout; what is queued after that is reset
ESTABLISHED, SYN_RECV = "01", "03"  # include/net/tcp_states.h


def install(server: Any) -> None:
    """Have the master refuse new connections and empty the backlog before it stops its workers (steps 1 to 3)."""
    original = server.handle_term

    def handle_term() -> None:
        if sys.platform == "linux" and not (server.reexec_pid or server.master_pid):  # after SIGUSR2 the other master needs them
            refuse_new_connections(server.LISTENERS)
        original()

    server.handle_term = handle_term


def refuse_new_connections(listeners: Sequence[Any]) -> None:
    """Refuse what comes from now on, and return when what came before has been accepted."""
    for listener in listeners:
        with contextlib.suppress(OSError):
            listener.sock.setsockopt(socket.SOL_SOCKET, SO_BINDTOIFINDEX, NO_INTERFACE)
    until = time.monotonic() + BACKLOG_S
    while time.monotonic() < until:
        time.sleep(0.02)  # a connection that came just before is visible by then
        if not has_connections(listeners, SYN_RECV) and all(listener.get_backlog() <= 0 for listener in listeners):
            return


def has_connections(listeners: Sequence[Any], wanted: str) -> bool:
    """Say whether one is in that state. The backlog lacks a handshake without its last packet: nginx may have sent its request by then."""
    inet = [listener.sock for listener in listeners if listener.sock.family in (socket.AF_INET, socket.AF_INET6)]
    ports = {f"{sock.getsockname()[1]:04X}" for sock in inet}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError), Path(table).open() as lines:  # no IPv6
            for _, local, _, state, *_ in map(str.split, lines):
                if state == wanted and local.rpartition(":")[2] in ports:
                    return True
    return False


def release_listeners(worker: Any) -> None:
    """Have a worker let go of the listening socket when it is told to stop (step 4).

    A socket that nobody connects to takes its number: closing it would break a worker that is just about to accept.
    """
    original = signal.getsignal(signal.SIGTERM)

    def stop(number: int, frame: Any) -> None:
        with socket.create_server(("127.0.0.1", 0)) as unused:
            unused.setblocking(False)
            for listener in worker.sockets:
                os.dup2(unused.fileno(), listener.fileno(), inheritable=False)
        if callable(original):
            original(number, frame)

    signal.signal(signal.SIGTERM, stop)
    signal.siginterrupt(signal.SIGTERM, False)  # as gunicorn does: a system call of a request in flight goes on
