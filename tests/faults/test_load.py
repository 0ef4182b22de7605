"""The load's visitors repeat nothing, whether they keep their connections or not."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from tests.clients import wait_until
from tools.reliability.measure.load import Load
from tools.reliability.records import LoadResult

SECONDS = 2.0


class Server(ThreadingHTTPServer):
    """Counts connections and requests; `drops`: so many requests of a connection are answered, the next one is dropped without a word."""

    daemon_threads = True
    connections = requests = 0
    drops = 0


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1
        self.answered = 0

    def do_GET(self) -> None:
        self.server.requests += 1
        self.answered += 1
        if self.server.drops and self.answered > self.server.drops:
            self.close_connection = True
            return
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Answer) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def visit(server: Server, **settings: Any) -> LoadResult:
    with Load(f"http://127.0.0.1:{server.server_port}", rate_per_s=50, mix={"static": 1.0}, **settings) as load:
        wait_until(load.sent_for(SECONDS), "some visits", timeout_s=30)
    return load.result()


def test_each_request_has_its_own_connection(server: Server) -> None:
    seen = visit(server)

    assert seen.failed == []
    assert server.connections == server.requests == len(seen.requests) > 50


def test_kept_connections_serve_many_requests(server: Server) -> None:
    seen = visit(server, keep_alive=True)

    assert seen.failed == []
    assert server.connections < server.requests / 2
    assert server.requests == len(seen.requests) > 50


def test_what_a_kept_connection_loses_is_a_failure_and_is_not_sent_again(server: Server) -> None:
    server.drops = 3
    seen = visit(server, keep_alive=True)

    assert seen.failed
    assert server.requests == len(seen.requests)
