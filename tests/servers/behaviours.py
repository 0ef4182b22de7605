"""What a server behind the kit's gateway has to do, one function each. It returns "yes", or what was seen instead.

Exceptions stand in servers/NAME/exceptions.toml: what is seen there, why, and what it means for a user.
"""

import http.client
import json
import secrets
import socket
import tomllib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from threading import Semaphore
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

from tests.clients import PATIENCE_S, Readers, Session, at_once, slow_clients, wait_until
from tests.smuggling.corpus import CORPUS
from tests.smuggling.test_corpus import examine
from tools.stack import Stack
from tools.stack.compose import ComposeStack, docker

SERVERS = Path(__file__).resolve().parents[2] / "servers"
YES = "yes"
MIB = b"x" * 1024 * 1024
BINARY = {"Content-Type": "application/octet-stream"}


@dataclass(frozen=True)
class Site:
    """A running stack with another server."""

    server: str
    stack: Stack

    @property
    def app(self) -> str:
        """Where an instance of the server itself answers, past the gateway."""
        unit = next(unit for unit in self.stack.processes() if unit.service == "app")
        if not isinstance(self.stack, ComposeStack):
            return f"http://{unit.address}"
        network = f"{self.stack.name}_web"
        address = docker("inspect", "--format", f'{{{{(index .NetworkSettings.Networks "{network}").IPAddress}}}}', unit.id)
        return f"http://{address}:{description(self.server).get('http_port', 8000)}"

    def get(self, path: str, headers: Mapping[str, str] | None = None, url: str = "") -> tuple[int | None, bytes]:
        with Session(url or self.stack.url) as session:
            reply = session.send("GET", path, headers=headers)
            return reply.status, reply.body

    def logged(self, request_id: str) -> dict[str, Any]:
        """Return the application's line of a request."""

        def find() -> dict[str, Any]:
            lines = [line for line in self.stack.logs("app").splitlines() if request_id in line and '"path"' in line]
            return json.loads(lines[0][lines[0].index("{") :]) if lines else {}

        return wait_until(find, "the request is in the log", timeout_s=30)


def is_what_it_is_called(site: Site) -> str:
    """The server that was asked for answers."""
    _, body = site.get("/lab/process")
    found = json.loads(body)["worker_class"]
    return YES if found == description(site.server)["is"] else str(found)


def pages(site: Site) -> str:
    """Pages, and an error page of the site's own."""
    seen = [site.get(path)[0] for path in ("/", "/about", "/api/entries", "/no-such-page", "/a%20b", "/caf%C3%A9")]
    return YES if seen == [200, 200, 200, 404, 404, 404] else f"statuses {seen}"


def api(site: Site) -> str:
    """A write that is sent twice is done once."""
    key = secrets.token_hex(16)
    body = json.dumps({"name": "Grace", "message": key}).encode()
    with Session(site.stack.url) as session:
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        replies = [session.send("POST", "/api/entries", body=body, headers=headers) for _ in range(2)]
    seen = [reply.status for reply in replies]
    return YES if seen == [201, 201] and replies[0].body == replies[1].body else f"statuses {seen}"


def _upload(url: str, *, chunked: bool, size: int = len(MIB)) -> str:
    parts = urlsplit(url)
    with closing(http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=PATIENCE_S)) as connection:
        body: Any = iter([MIB[: size // 2], MIB[size // 2 : size]]) if chunked else MIB[:size]
        try:
            connection.request("POST", "/lab/upload", body=body, headers=BINARY | {"Host": "localhost"}, encode_chunked=chunked)
            answer = connection.getresponse()
            content = answer.read()
        except OSError:  # the server closes with the body unread
            return "the body is lost"
        if answer.status != 200:
            return f"{answer.status}"
        received = json.loads(content)["bytes"]
        return YES if received == size else "the body is lost" if not received else f"{received} bytes of {size}"


def upload(site: Site) -> str:
    """A body with Content-Length, through the gateway."""
    return _upload(site.stack.url, chunked=False)


def chunked_upload(site: Site) -> str:
    """A body in chunks, through the gateway."""
    return _upload(site.stack.url, chunked=True)


def chunked_upload_alone(site: Site) -> str:
    """A body in chunks, past the gateway."""
    return _upload(site.app, chunked=True, size=300_000)


def half_an_upload(site: Site) -> str:
    """A body that ends before its Content-Length is not taken for a whole one."""
    parts = urlsplit(site.app)
    head = f"POST /lab/upload HTTP/1.1\r\nHost: localhost\r\nContent-Type: {BINARY['Content-Type']}\r\nContent-Length: 300000\r\n\r\n"
    with socket.create_connection((str(parts.hostname), parts.port), timeout=PATIENCE_S) as connection:
        connection.sendall(head.encode() + MIB[:150_000])
        site.get("/healthz", url=site.app)  # gunicorn drops who has left before the view begins
        try:
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(12)
        except OSError:
            answer = b""
    return "taken for the whole" if answer.endswith(b"200") else YES


def _stream(site: Site, query: str) -> tuple[list[tuple[float, bytes]], str]:
    """Return when which piece came, and how it ended."""
    parts = urlsplit(site.stack.url)
    with closing(http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=PATIENCE_S)) as connection:
        connection.request("GET", f"/lab/stream?{query}")
        pieces: list[tuple[float, bytes]] = []
        try:
            answer = connection.getresponse()
            while piece := answer.read1():
                pieces.append((monotonic(), piece))
        except http.client.HTTPException as error:
            return pieces, type(error).__name__
        return pieces, f"{answer.status}"


def stream_at_once(site: Site) -> str:
    """A chunk arrives when it is made: the last one a second after the first."""
    pieces, end = _stream(site, "chunks=3&interval_ms=500")
    if end != "200" or b"".join(piece for _, piece in pieces).count(b"chunk") != 3:
        return f"{len(pieces)} pieces, {end}"
    return YES if pieces[-1][0] - pieces[0][0] > 0.3 else "all at the end"


def failed_stream_is_cut(site: Site) -> str:
    """An answer whose view fails half-way does not look complete."""
    pieces, end = _stream(site, "chunks=2&interval_ms=100&fail=1")
    return "looks complete" if end == "200" and pieces else YES


def client_gone(site: Site) -> str:
    """When the client leaves, the stream's view is ended."""
    request_id = secrets.token_hex(16)
    parts = urlsplit(site.stack.url)
    with socket.create_connection((str(parts.hostname), int(parts.port or 80)), timeout=PATIENCE_S) as connection:
        path = "/lab/stream?chunks=30&interval_ms=200"
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: {request_id}\r\n\r\n".encode())
        connection.recv(1)
    return YES if site.logged(request_id).get("complete") is False else "runs to its end"


def request_id(site: Site) -> str:
    """Client, log and answer have the same id."""
    given = secrets.token_hex(16)
    with Session(site.stack.url) as session:
        answer = session.send("GET", "/lab/json", headers={"X-Request-ID": given})
    line = site.logged(given)
    return YES if answer.headers.get("x-request-id") == given and line["status"] == 200 else f"{answer.headers.get('x-request-id')}"


def client_and_scheme(site: Site) -> str:
    """Address and scheme are those that the gateway says."""
    told = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}
    status, body = site.get("/lab/process", told, url=site.app)
    seen = json.loads(body) if status == 200 else {}
    found = seen.get("client"), seen.get("scheme")
    return YES if found == ("192.0.2.7", "https") else f"{found}"


def header_limits(site: Site) -> str:
    """What nginx passes on is accepted: lines of 8,190 bytes, 24 KB of them, 91 fields."""
    value, query = ("x" * (8190 - len(rest)) for rest in ("Cookie: ", "GET /lab/json?q= HTTP/1.1"))
    heads: list[dict[str, str]] = [
        {"Cookie": value},
        {f"X-Long-{number}": "x" * 7900 for number in range(3)},
        {f"X-Field-{number}": "x" * 20 for number in range(88)},  # and three of http.client's
    ]
    seen = [site.get("/lab/json", head)[0] for head in heads] + [site.get(f"/lab/json?q={query}")[0]]
    return YES if set(seen) == {200} else f"statuses {seen}"


def header_limit_page(site: Site) -> str:
    """What is too much gets the site's own page: a long line, 40 KB of them, 92 fields, a long address."""
    heads = [{"Cookie": "x" * 8200}, {f"X-Long-{number}": "x" * 8000 for number in range(5)}]
    if isinstance(site.stack, ComposeStack):  # an nginx before 1.29.8 has no max_headers
        heads.append({f"X-Field-{number}": "x" for number in range(89)})
    answers = [site.get("/lab/json", head) for head in heads] + [site.get(f"/lab/json?q={'x' * 8200}")]
    seen = [status if b"Request <code>" in body else "no page" for status, body in answers]
    return YES if seen == [*[431] * len(heads), 414] else f"{seen}"


class Record:
    """What reached the application of the corpus' paths (tests/servers/witness.py), and when it was asked."""

    def __init__(self, site: Site) -> None:
        self._site, self._url, self._bytes, self._lines = site, site.app, 0, list[dict[str, Any]]()

    def mark(self) -> int:
        _, body = self._site.get(f"/witness?{self._bytes}", url=self._url)
        self._bytes += len(body)
        self._lines += map(json.loads, body.splitlines())
        return len(self._lines)

    def since(self, mark: int) -> list[dict[str, Any]]:
        self.mark()
        return self._lines[mark:]


def smuggling(site: Site) -> str:
    """Each request of tests/smuggling/ is refused or served right, and nobody else's answer is changed by it."""
    record, client, wrong = Record(site), json.loads(site.get("/lab/process")[1])["client"], []
    for case in chain.from_iterable(CORPUS.values()):
        try:
            examine(int(urlsplit(site.stack.url).port or 80), record, case, client=client)
        except AssertionError as error:
            wrong.append(f"{case.name}: {error}")
    return YES if not wrong else "; ".join(wrong)


def slow_clients_hold_nobody_up(site: Site) -> str:
    """Forty clients that read nothing of their answers leave the server free."""
    with slow_clients(site.stack.url, Readers(40, "/lab/payload?kib=1024", 0)) as slow:
        slow.wait_until_holding()
        status, _ = site.get("/lab/hello")
    return YES if status == 200 else f"{status}"


def requests_at_once(site: Site) -> str:
    """Sixteen requests at once for the database and for context locals, each with its own values."""
    replies = list(chain(at_once(site.stack.url, "/lab/db", requests=16), at_once(site.stack.url, "/lab/context?ms=50", requests=16)))
    if failed := [reply.status for reply in replies if reply.failed]:
        return f"statuses {failed}"
    own = [json.loads(reply.body)["own"] for reply in replies[16:]]
    kept = ("request", "g", "session", "context_variable", "thread_local")
    return YES if all(one[name] for one in own for name in kept) else "mixed"


@contextmanager
def _connected(url: str, path: str) -> Iterator[socket.socket]:
    parts = urlsplit(url)
    with socket.create_connection((str(parts.hostname), int(parts.port or 80)), timeout=PATIENCE_S) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        yield connection


def drains(site: Site) -> str:
    """Told to stop, an instance finishes the four requests that it has."""
    unit = next(unit for unit in site.stack.processes() if unit.service == "app")
    url = site.stack.url if "http_port" in description(site.server) else site.app  # that port is for health checks, and does not drain

    def ask(_: int) -> bytes:
        with _connected(url, "/lab/wait?ms=2000") as connection:
            sent.release()
            try:
                return b"".join(iter(lambda: connection.recv(65536), b""))
            except OSError as error:
                return type(error).__name__.encode()

    sent = Semaphore(0)
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(ask, number) for number in range(4)]
        for _ in answers:
            sent.acquire()
        if isinstance(site.stack, ComposeStack):
            docker("stop", unit.id)
            docker("start", unit.id)
            wait_until(lambda: site.get("/healthz")[0] == 200, "the site answers again")
        else:
            site.stack.exec("app", ["kill", unit.id])
        whole = sum(answer.result().startswith(b"HTTP/1.1 200") and b'"waited' in answer.result() for answer in answers)
    return YES if whole == 4 else f"{whole} of 4 answered"


BEHAVIOURS: dict[str, Callable[[Site], str]] = {
    function.__name__: function
    for function in (
        is_what_it_is_called,
        pages,
        api,
        upload,
        chunked_upload,
        chunked_upload_alone,
        half_an_upload,
        stream_at_once,
        failed_stream_is_cut,
        client_gone,
        request_id,
        client_and_scheme,
        header_limits,
        header_limit_page,
        smuggling,
        slow_clients_hold_nobody_up,
        requests_at_once,
        drains,
    )
}

# The application records what reaches it by a file that is laid over the stack.
COMPOSE_ONLY = ["smuggling"]


def description(server: str) -> dict[str, Any]:
    """Return server.toml."""
    return tomllib.loads((SERVERS / server / "server.toml").read_text())


def exceptions(server: str) -> dict[str, dict[str, str]]:
    """Return {behaviour: {"seen", "why"}}."""
    file = SERVERS / server / "exceptions.toml"
    return tomllib.loads(file.read_text()) if file.exists() else {}
