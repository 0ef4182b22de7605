"""Servers that misbehave, started and stopped."""

import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
STALL_S = 2.0
NEVER = 10**9


@contextmanager
def running(stall_at: int) -> Iterator[str]:
    server = subprocess.Popen(
        [sys.executable, str(HERE / "stalling_server.py"), str(stall_at), str(STALL_S)], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    try:
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
    finally:
        server.terminate()
        server.communicate(timeout=10)


class _Cutting(socketserver.StreamRequestHandler):
    """Closes a connection when its second request arrives."""

    def handle(self) -> None:
        for served in range(2):
            request = self.rfile.readline()
            while self.rfile.readline().strip():
                pass  # the rest of its head
            if request:
                self.server.received.append(request)  # type: ignore[attr-defined]
            if served or not request:
                return
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n")


class _Server(socketserver.ThreadingTCPServer):
    request_queue_size = 1024  # more than connections at once: none is refused for another reason
    daemon_threads = True


@contextmanager
def cutting() -> Iterator[tuple[str, list[bytes]]]:
    """Yield the URL of a server that loses every second request of a connection, and the requests that it received."""
    with _Server(("127.0.0.1", 0), _Cutting) as server:
        server.received = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", server.received  # type: ignore[attr-defined]
        server.shutdown()
