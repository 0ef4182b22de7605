"""A server that reads requests carelessly, to see that the tests notice what follows from it."""

import json
import socketserver
from dataclasses import dataclass, field
from io import BufferedIOBase
from typing import Self

from tests.nginx.backends import InThread, QuietServer
from tests.nginx.gateway import HOST
from tests.smuggling.wire import Record


@dataclass
class LaxServer(InThread):
    """Answers each request with its path as JSON.

    `prefers_chunks`: Transfer-Encoding wins over Content-Length, where a request with both must be refused.
    `reads_body_of_get`: if not, what a GET brings is taken for the next request.
    """

    prefers_chunks: bool = False
    reads_body_of_get: bool = True
    _records: list[Record] = field(default_factory=list)

    def __enter__(self) -> Self:
        lax = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                while body := lax.answer(self.rfile):
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

        return self._serve(QuietServer((HOST, 0), Handler))

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def mark(self) -> int:
        return len(self._records)

    def since(self, mark: int) -> list[Record]:
        return self._records[mark:]

    def answer(self, stream: BufferedIOBase) -> bytes:
        """Read one request and return the body of its answer; b"" at the end of the connection."""
        words = stream.readline().decode("latin-1").split(" ")
        if len(words) != 3:
            return b""
        headers = {}
        while (line := stream.readline()) not in {b"\r\n", b""}:
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        if words[0] != "GET" or self.reads_body_of_get:
            self._read_body(stream, headers)
        self._records.append({"method": words[0], "path": words[1], "headers": {}, "body": ""})
        return json.dumps(self._records[-1]).encode()

    def _read_body(self, stream: BufferedIOBase, headers: dict[str, str]) -> None:
        if self.prefers_chunks and headers.get("transfer-encoding") == "chunked":
            while size := int(stream.readline(), 16):
                stream.read(size + 2)
            stream.readline()
        else:
            stream.read(int(headers.get("content-length", 0)))
