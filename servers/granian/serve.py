"""Granian on an inherited listening socket, which its command line does not take: there each worker opens one of its own.

serve.py FD PROCESSES THREADS
"""

import socket
import sys

from granian._granian import SocketHolder
from granian.constants import HTTPModes, Interfaces
from granian.server.mp import MPServer


class Server(MPServer):
    """With the socket of servers/start.py."""

    def _init_shared_socket(self) -> None:
        self._ssp, self._sfd = None, int(sys.argv[1])
        self._shd = SocketHolder(self._sfd, False, self.backlog)
        self._sso = socket.socket(fileno=self._sfd)
        self._sso.set_inheritable(True)


if __name__ == "__main__":
    # http1: a client of nginx's cannot ask for HTTP/2. A worker that dies is replaced; by default Granian ends then.
    Server(
        "wsgi:application",
        interface=Interfaces.WSGI,
        http=HTTPModes.http1,
        websockets=False,
        workers=int(sys.argv[2]),
        blocking_threads=int(sys.argv[3]),
        respawn_failed_workers=True,
    ).serve()
