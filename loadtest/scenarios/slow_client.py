"""slow-clients: visitors with a bad connection, who hold it for seconds. They are the background of a fast workload."""

from contextlib import closing
from urllib.parse import urlsplit

import gevent
from gevent import socket
from locust import task

from loadtest.scenarios.base import Scenario

CHUNKS, CHUNK_BYTES, PAUSE_S = 20, 1024, 0.25  # 20 KiB in five seconds; below the gateway's patience between two reads
PAYLOAD_KIB = 1024
TIMEOUT_S = 60.0


class SlowClient(Scenario):
    """Sends, or reads, a few KiB a second. Without a gateway that buffers, each of them holds a worker."""

    @task
    def send_slowly(self) -> None:
        """Post a body in small pieces."""
        size = CHUNKS * CHUNK_BYTES
        head = f"POST /lab/upload HTTP/1.1\r\nContent-Length: {size}\r\nContent-Type: application/octet-stream\r\n"
        with self.environment.events.request.measure("POST", "slow upload", context=self.context()), closing(self._open(head)) as line:
            for _ in range(CHUNKS):
                line.sendall(b"x" * CHUNK_BYTES)
                gevent.sleep(PAUSE_S)
            _check(_read_all(line), f'"bytes":{size}'.encode())

    @task
    def read_slowly(self) -> None:
        """Fetch a large answer in small pieces."""
        head = f"GET /lab/payload?kib={PAYLOAD_KIB} HTTP/1.1\r\n"
        with self.environment.events.request.measure("GET", "slow download", context=self.context()), closing(self._open(head)) as line:
            start = b"".join(_read_piece(line) for _ in range(CHUNKS))
            body = start + _read_all(line)
            _check(body, b"\r\n\r\n")
            if len(body.partition(b"\r\n\r\n")[2]) != PAYLOAD_KIB * 1024:
                raise ValueError("wrong answer: size")

    def _open(self, head: str) -> socket.socket:
        target = urlsplit(self.client.base_url or "")
        # A small buffer on our side: otherwise the kernel takes the answer, and the server is not held at all.
        line = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 * CHUNK_BYTES)
        line.settimeout(TIMEOUT_S)
        line.connect((target.hostname or "127.0.0.1", target.port or 80))
        line.sendall(f"{head}Host: {target.netloc}\r\nConnection: close\r\n\r\n".encode())
        return line


def _read_piece(line: socket.socket) -> bytes:
    gevent.sleep(PAUSE_S)
    return bytes(line.recv(CHUNK_BYTES))


def _read_all(line: socket.socket) -> bytes:
    pieces = []
    while piece := line.recv(65_536):
        pieces.append(piece)
    return b"".join(pieces)


def _check(answer: bytes, expected: bytes) -> None:
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise ValueError(f"wrong answer: {answer[:15].decode('latin-1')}")
    if expected not in answer:
        raise ValueError("wrong answer: body")
