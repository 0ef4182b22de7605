"""One client that floods a server, in a process of its own: in the test's it would take the others' time."""

import asyncio
import multiprocessing
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from urllib.parse import urlsplit

import psutil

CONNECTIONS = 10


@contextmanager
def flooding(
    url: str, path: str, client: str, *, requests: int, per_second: float, cpus: Sequence[int] = ()
) -> Iterator["Future[Counter[int]]"]:
    """Let `client` (X-Forwarded-For) send so many GETs at that pace, on these processors; the future is the count of their statuses."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _run_on, (cpus,)) as pool:
        pool.submit(int).result()  # the process is there
        yield pool.submit(_run, url, path, client, requests, per_second)


def _run_on(cpus: Sequence[int]) -> None:
    if cpus:
        psutil.Process().cpu_affinity(list(cpus))


def _run(url: str, path: str, client: str, requests: int, per_second: float) -> Counter[int]:
    parts = urlsplit(url)
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {client}\r\n\r\n".encode()
    return asyncio.run(_flood(parts.hostname or "", parts.port or 80, request, requests, per_second))


async def _flood(host: str, port: int, request: bytes, requests: int, per_second: float) -> Counter[int]:
    begun = asyncio.get_running_loop().time()

    async def one(first: int) -> Counter[int]:
        statuses: Counter[int] = Counter()
        reader, writer = await asyncio.open_connection(host, port)
        for number in range(first, requests, CONNECTIONS):
            await asyncio.sleep(max(0.0, begun + number / per_second - asyncio.get_running_loop().time()))
            writer.write(request)
            status, closes = await _answer(reader)
            statuses[status] += 1
            if closes:  # nginx does so after a thousand requests
                writer.close()
                reader, writer = await asyncio.open_connection(host, port)
        writer.close()
        return statuses

    return sum(await asyncio.gather(*map(one, range(CONNECTIONS))), Counter())


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bool]:
    """Read one answer; its status, and whether the server closes."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines[1:] if line)
    if fields.get("transfer-encoding") == "chunked":
        while size := int(await reader.readline(), 16):
            await reader.readexactly(size + 2)
        await reader.readline()
    else:
        await reader.readexactly(int(fields["content-length"]))
    return int(lines[0].split()[1]), fields.get("connection") == "close"
