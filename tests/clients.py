"""The load clients of the stack's tests: a fast one that is strict about errors, and slow ones by the hundred.

The slow clients live in a process of their own: in this one they would share the interpreter lock with the fast
client, and its latency would be theirs. Times are `time.monotonic()`, which all processes of a machine share.
"""

import asyncio
import dataclasses
import http.client
import itertools
import multiprocessing
import resource
import signal
import socket
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection
from typing import Generic, Self, TypeVar
from urllib.parse import urlsplit

POLL_S = 0.05
# Longer than nginx waits for gunicorn (35 s): a request fails because the server says so, not because a client gave up.
PATIENCE_S = 60

Value = TypeVar("Value")


def wait_until(condition: Callable[[], Value], what: str | Callable[[], str], *, timeout_s: float = 60) -> Value:
    """Return the first true value of `condition`; fail with `what` when there is none within `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what if isinstance(what, str) else what()}"
        pause.wait(POLL_S)
    return value


# --- The fast client -------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Reply:
    """What one request came to. A refused, reset or overdue request has no status, and says so in `error`."""

    started_at: float  # time.monotonic()
    seconds: float
    status: int | None
    error: str
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    @property
    def ended_at(self) -> float:
        return self.started_at + self.seconds

    @property
    def failed(self) -> bool:
        """True for everything but an answer that says yes: 429 and 5xx are failures as much as a reset."""
        return self.status is None or self.status >= 400


class Session:
    """One client that sends one request after the other, and never repeats one.

    With `keep_alive` all go over one connection while the server keeps it; without, each opens its own.
    """

    def __init__(self, url: str, *, keep_alive: bool = False, timeout_s: float = PATIENCE_S) -> None:
        parts = urlsplit(url)
        assert parts.hostname
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout_s)
        # The address may be a container's own, by which the site does not answer.
        self._headers = {"Host": "localhost"} | ({} if keep_alive else {"Connection": "close"})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def send(self, method: str, path: str, *, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Reply:
        started_at = time.monotonic()
        try:
            self._connection.request(method, path, body=body, headers={**self._headers, **(headers or {})})
            answer = self._connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            return Reply(started_at, time.monotonic() - started_at, None, repr(error), {}, b"")
        names = {name.lower(): value for name, value in answer.getheaders()}
        return Reply(started_at, time.monotonic() - started_at, answer.status, "", names, content)

    def get(self, path: str) -> Reply:
        return self.send("GET", path)


class Background(Generic[Value]):
    """A client that repeats `call` in a thread, with a pause between two calls, until it is stopped."""

    def __init__(self, call: Callable[[], Value], *, pause_s: float) -> None:
        self._call = call
        self._pause_s = pause_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.replies: list[Value] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.replies.append(self._call())
            self._stopping.wait(self._pause_s)


@contextmanager
def background(
    url: str, path: str, *, clients: int = 1, pause_s: float = 0.01, keep_alive: bool = False
) -> Iterator[Callable[[], list[Reply]]]:
    """Let `clients` GET `path` steadily; yields a function that returns all replies so far, in the order they ended."""
    with ExitStack() as stack:
        sessions = [stack.enter_context(Session(url, keep_alive=keep_alive)) for _ in range(clients)]
        running = [stack.enter_context(Background(partial(session.get, path), pause_s=pause_s)) for session in sessions]
        yield lambda: sorted(itertools.chain.from_iterable(list(one.replies) for one in running), key=lambda reply: reply.ended_at)


def steady(
    url: str,
    path: str,
    *,
    requests: int,
    per_second: float = 50,
    timeout_s: float = PATIENCE_S,
) -> list[Reply]:
    """Send `requests` GETs at a fixed pace from here, and return their replies.

    A late reply delays the next request: this is one visitor, not a load generator. A request that got no answer at
    all is the last one: against a server that hangs, each further one would only cost its timeout again.
    """
    replies: list[Reply] = []
    pause = threading.Event()
    begun = time.monotonic()
    with Session(url, timeout_s=timeout_s) as session:
        for number in range(requests):
            pause.wait(max(0.0, begun + number / per_second - time.monotonic()))
            replies.append(session.get(path))
            if replies[-1].status is None:
                break
    return replies


def at_once(url: str, path: str, *, requests: int, timeout_s: float = PATIENCE_S) -> list[Reply]:
    """Send `requests` GETs from as many clients in the same moment, and return their replies."""
    together = threading.Barrier(requests)

    def send() -> Reply:
        with Session(url, timeout_s=timeout_s) as session:
            together.wait()
            return session.get(path)

    with ThreadPoolExecutor(requests) as pool:
        return [future.result() for future in [pool.submit(send) for _ in range(requests)]]


def spread(url: str, path: str, *, requests: int, clients: int, keep_alive: bool) -> list[Reply]:
    """Send `requests` GETs, shared by `clients` that each send theirs one after the other, and return the replies."""

    def send(count: int) -> list[Reply]:
        with Session(url, keep_alive=keep_alive) as session:
            return [session.get(path) for _ in range(count)]

    with ThreadPoolExecutor(clients) as pool:
        return list(itertools.chain.from_iterable(pool.map(send, [requests // clients] * clients)))


def percentile_ms(replies: Sequence[Reply], percent: int) -> float:
    """Return this percentile of the latency, in milliseconds, interpolated between the two nearest replies."""
    return statistics.quantiles([reply.seconds * 1000 for reply in replies], n=100, method="inclusive")[percent - 1]


# --- The slow clients ------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Readers:
    """Clients that ask for `path` and take the answer at `bytes_per_second` each; at 0 they take none of it."""

    clients: int
    path: str
    bytes_per_second: int = 1024


@dataclasses.dataclass(frozen=True, slots=True)
class Senders:
    """Clients that POST `body_bytes` to `path` at `bytes_per_second` each; at 0 they stop after `first_bytes`."""

    clients: int
    path: str
    body_bytes: int
    bytes_per_second: int = 1024
    first_bytes: int = 3


@dataclasses.dataclass(slots=True)
class Slow:
    """What has become of one slow client."""

    kind: str  # "reader" or "sender"
    opened_at: float = 0.0
    sent: int = 0  # bytes of the body handed to the kernel
    received: int = 0  # bytes of the answer's body taken from the kernel
    expected: int | None = None  # Content-Length of the answer
    status: int | None = None
    first_byte_at: float | None = None
    ended_at: float | None = None  # None: it still holds
    ending: str = ""  # "complete", "closed by peer", or the error

    @property
    def holds(self) -> bool:
        """It is connected and wants more time: a reader inside its answer, a sender inside its body."""
        begun = self.first_byte_at is not None if self.kind == "reader" else self.sent > 0
        return begun and self.ended_at is None


class _Client:
    """One slow connection. A subclass says what happens on it."""

    def __init__(self, address: tuple[str, int], delay_s: float, hurry: asyncio.Event) -> None:
        self._address = address
        self._delay_s = delay_s
        self._hurry = hurry
        self._socket = socket.socket()
        self.record = Slow(kind="")

    async def run(self) -> None:
        await asyncio.sleep(self._delay_s)
        self._socket.setblocking(False)
        # Before connecting, because it decides the window that is offered. The kernel takes what fits whether the
        # client reads or not: with its own choice of several megabytes a whole answer would leave nginx at once.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.record.opened_at = time.monotonic()
        try:
            await asyncio.get_running_loop().sock_connect(self._socket, self._address)
            await self._talk()
            self.record.ending = "complete" if self._complete() else "closed by peer"
        except OSError as error:
            self.record.ending = repr(error)
        finally:
            self.record.ended_at = time.monotonic()
            self._socket.close()

    def open_window(self) -> None:
        """Let the kernel take more than a client that reads slowly lets it take."""
        if not self.record.ended_at:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)

    async def _talk(self) -> None:
        raise NotImplementedError

    def _complete(self) -> bool:
        return self.record.expected is not None and self.record.received == self.record.expected

    async def _send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._socket, data)

    async def _read_answer(self, bytes_per_second: int | None) -> None:
        """Read until the answer is complete or the peer closes; at a rate, or (None) as fast as it comes."""
        loop = asyncio.get_running_loop()
        head = b""
        while b"\r\n\r\n" not in head:
            # Byte by byte would be exact too, and slow; what is read beyond the head is counted as body below.
            if not (piece := await loop.sock_recv(self._socket, 1024)):
                return
            self.record.first_byte_at = self.record.first_byte_at or time.monotonic()
            head += piece
        head, _, body = head.partition(b"\r\n\r\n")
        self._understand(head.decode("latin-1"))
        self.record.received = len(body)
        while not self._complete():
            if bytes_per_second is not None:
                await self._pace(bytes_per_second)
            most = 65536 if self._hurry.is_set() else bytes_per_second or 65536
            if not (piece := await loop.sock_recv(self._socket, most)):
                return
            self.record.received += len(piece)

    async def _pace(self, bytes_per_second: int) -> None:
        """Let one second pass, or for ever when the client is one that stalls; not a moment when it is to hurry."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), 1 if bytes_per_second else None)

    def _understand(self, head: str) -> None:
        status_line, *lines = head.split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        self.record.status = int(status_line.split()[1])
        self.record.expected = int(headers["content-length"]) if "content-length" in headers else None


class _Reader(_Client):
    def __init__(self, plan: Readers, address: tuple[str, int], delay_s: float, hurry: asyncio.Event) -> None:
        super().__init__(address, delay_s, hurry)
        self.record.kind = "reader"
        self._plan = plan

    async def _talk(self) -> None:
        await self._send(f"GET {self._plan.path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        await self._read_answer(self._plan.bytes_per_second)


class _Sender(_Client):
    def __init__(self, plan: Senders, address: tuple[str, int], delay_s: float, hurry: asyncio.Event) -> None:
        super().__init__(address, delay_s, hurry)
        self.record.kind = "sender"
        self._plan = plan

    async def _talk(self) -> None:
        sending = asyncio.ensure_future(self._send_body())
        try:
            await self._read_answer(None)  # an answer may come before the body is complete, and ends the sending
        finally:
            sending.cancel()
            with suppress(asyncio.CancelledError, OSError):
                await sending

    async def _send_body(self) -> None:
        plan = self._plan
        await self._send(
            f"POST {plan.path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            f"Content-Type: application/octet-stream\r\nContent-Length: {plan.body_bytes}\r\n\r\n".encode()
        )
        piece = plan.bytes_per_second or plan.first_bytes
        while self.record.sent < plan.body_bytes:
            data = b"x" * min(piece, plan.body_bytes - self.record.sent)
            await self._send(data)
            self.record.sent += len(data)
            await self._pace(plan.bytes_per_second)


HURRY = "hurry"


class SlowClients:
    """The slow clients of a test, while they run."""

    def __init__(self, pipe: Connection, total: int) -> None:
        self._pipe = pipe
        self.total = total

    def hurry(self) -> None:
        """Let them read and send as fast as they can from now on."""
        self.records(HURRY)

    def records(self, request: str = "") -> list[Slow]:
        """Return what has become of each client until now."""
        self._pipe.send(request)
        records: list[Slow] = self._pipe.recv()
        return records

    def holding(self) -> int:
        """Return how many hold on now."""
        return sum(record.holds for record in self.records())

    def wait_until_holding(self, count: int | None = None, *, timeout_s: float = 30) -> None:
        """Return when `count` (None: all) of them hold."""
        wanted = self.total if count is None else count
        deadline = time.monotonic() + timeout_s
        pause = threading.Event()
        records = self.records()
        while (holding := sum(record.holds for record in records)) < wanted:
            outcomes = Counter((record.kind, record.status, record.ending) for record in records)
            assert time.monotonic() < deadline, f"{holding} of {wanted} slow clients hold: {dict(outcomes)}"
            pause.wait(POLL_S)
            records = self.records()

    def wait_until_ended(self, *, timeout_s: float) -> list[Slow]:
        """Return the records when every client has ended, each in its own way."""

        def all_ended() -> list[Slow] | None:
            records = self.records()
            return records if all(record.ended_at for record in records) else None

        records = wait_until(all_ended, "all slow clients ended", timeout_s=timeout_s)
        assert records
        return records


@contextmanager
def slow_clients(url: str, *plans: Readers | Senders) -> Iterator[SlowClients]:
    """Run the slow clients of all plans at once, spread evenly over the first second; at the end they hang up."""
    parts = urlsplit(url)
    spawn = multiprocessing.get_context("spawn")  # a fork would carry the threads and sockets of this process over
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_swarm, args=(theirs, (parts.hostname, parts.port), plans), daemon=True)
    process.start()
    theirs.close()
    try:
        with closing(ours):
            yield SlowClients(ours, sum(plan.clients for plan in plans))
    finally:
        process.join(10)
        assert process.exitcode == 0, f"the slow clients' process ended with {process.exitcode}"


def _swarm(pipe: Connection, address: tuple[str, int], plans: Sequence[Readers | Senders]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's; this process ends when the pipe does
    wanted = sum(plan.clients for plan in plans) + 64
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:  # 256 on macOS
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    asyncio.run(_serve(pipe, address, plans))


async def _serve(pipe: Connection, address: tuple[str, int], plans: Sequence[Readers | Senders]) -> None:
    ended, hurry = asyncio.Event(), asyncio.Event()
    clients: list[_Client] = []
    for plan in plans:
        for number in range(plan.clients):
            where = address, number / plan.clients, hurry
            clients.append(_Reader(plan, *where) if isinstance(plan, Readers) else _Sender(plan, *where))

    def answer() -> None:
        try:
            if pipe.recv() == HURRY:
                hurry.set()
                for client in clients:
                    client.open_window()
            pipe.send([client.record for client in clients])
        except (EOFError, OSError):
            asyncio.get_running_loop().remove_reader(pipe.fileno())
            ended.set()

    asyncio.get_running_loop().add_reader(pipe.fileno(), answer)
    tasks = [asyncio.ensure_future(client.run()) for client in clients]
    await ended.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
