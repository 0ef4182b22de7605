"""Whose values request, g and the other kinds of storage give, under each kind of concurrency; docs/context.md has the tables."""

import asyncio
import contextvars
import re
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import gevent
import gevent.local
import greenlet
import pytest
from flask import Flask, copy_current_request_context, g, request

from tests.budgets import ROOT

app = Flask(__name__)
variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
shared: dict[str, str] = {}
REQUESTS = [f"/{number}" for number in range(3)]

Pause = Callable[[], Awaitable[None]]
Seen = dict[str, bool]


async def answer(path: str, local: Any, pause: Pause) -> Seen:
    """Store the path everywhere, let the other requests do so too, and say where it is still there."""
    context = app.test_request_context(path)
    context.push()
    g.path = local.path = shared["path"] = path
    variable.set(path)
    await pause()
    found = {
        "`request`, `g`, `session`": request.path == g.path == path,
        "`ContextVar`": variable.get() == path,
        "`threading.local`": local.path == path,
        "a module's global": shared["path"] == path,
    }
    await pause()
    with suppress(AssertionError, LookupError):  # the context of another request
        context.pop()
    return found


def run(coroutine: Coroutine[Any, Any, Seen]) -> Seen:
    """Run one that does not wait in the sense of asyncio."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: Seen = end.value
        return result
    raise AssertionError


def threads() -> list[Seen]:
    """A thread for each request: sync (one thread), gthread, uWSGI's and mod_wsgi's threads, Werkzeug."""
    together, local = threading.Barrier(len(REQUESTS)), threading.local()

    async def pause() -> None:
        together.wait()

    with ThreadPoolExecutor(len(REQUESTS)) as pool:
        return [*pool.map(lambda path: run(answer(path, local, pause)), REQUESTS)]


def greenlets() -> list[Seen]:
    """A greenlet for each request: gevent, which puts its own in the place of threading.local."""
    local = gevent.local.local()

    async def pause() -> None:
        gevent.sleep(0)

    return [one.get() for one in [gevent.spawn(run, answer(path, local, pause)) for path in REQUESTS]]


def tasks() -> list[Seen]:
    """An asyncio task for each request."""
    local = threading.local()

    async def together() -> list[Seen]:
        return await asyncio.gather(*(answer(path, local, lambda: asyncio.sleep(0)) for path in REQUESTS))

    return asyncio.run(together())


class _Turn:
    def __await__(self) -> Generator[None]:
        yield


async def _turn() -> None:
    await _Turn()


def bare_coroutines() -> list[Seen]:
    """Coroutines that a loop of one's own takes turns with, as before asyncio had tasks."""
    local, found = threading.local(), list[Seen]()

    def loop() -> None:
        waiting = [answer(path, local, _turn) for path in REQUESTS]
        while waiting:
            for coroutine in [*waiting]:
                try:
                    coroutine.send(None)
                except StopIteration as end:
                    found.append(end.value)
                    waiting.remove(coroutine)

    contextvars.copy_context().run(loop)
    return found


KINDS = [threads, greenlets, tasks, bare_coroutines]


def table(heading: str) -> list[list[str]]:
    """Return the rows of the table under a heading of the page, without its head."""
    _, _, after = (ROOT / "docs/context.md").read_text().partition(f"## {heading}\n")
    rows = re.findall(r"^\| (.+) \|$", after.partition("\n## ")[0], re.MULTILINE)
    return [row.split(" | ") for row in rows[1:]]


def test_whose_value_it_is_under_each_kind_of_concurrency() -> None:
    seen = [kind() for kind in KINDS]

    assert table("Whose value is it?") == [
        [name, *("its own" if all(one[name] for one in found) else "**another's**" for found in seen)] for name in seen[0][0]
    ]


def path() -> str:
    """Ask for the request, as something does that a view has started."""
    try:
        return request.path
    except RuntimeError as error:
        assert "outside of request context" in str(error)  # noqa: PT017 - where there is none
        return "RuntimeError"


async def _path() -> str:
    return path()


def in_a_thread(function: Callable[[], str]) -> str:
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


def in_a_pool(function: Callable[[], str]) -> str:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


async def _executor() -> str:
    return await asyncio.get_running_loop().run_in_executor(None, path)


async def _task() -> str:
    return await asyncio.create_task(_path())


STARTED: dict[str, Callable[[], str]] = {
    "`threading.Thread`": lambda: in_a_thread(path),
    "`ThreadPoolExecutor.submit`": lambda: in_a_pool(path),
    "`loop.run_in_executor`": lambda: asyncio.run(_executor()),
    "`gevent.spawn`": lambda: str(gevent.spawn(path).get()),
    "`greenlet.greenlet`": lambda: str(greenlet.greenlet(path).switch()),
    "any of these with `copy_current_request_context`": lambda: in_a_thread(copy_current_request_context(path)),
    "`await` of a coroutine": lambda: asyncio.run(_path()),
    "`asyncio.create_task`": lambda: asyncio.run(_task()),
    "`asyncio.to_thread`": lambda: asyncio.run(asyncio.to_thread(path)),
}


def test_what_a_view_starts_has_the_request_or_not() -> None:
    with app.test_request_context("/view"):
        seen = {name: start() for name, start in STARTED.items()}

    assert [row[:2] for row in table("What a view starts")] == [[name, {"/view": "yes"}.get(found, found)] for name, found in seen.items()]


@pytest.mark.parametrize("start", [in_a_pool, lambda function: str(gevent.spawn(function).get())], ids=["pool", "gevent"])
def test_a_copy_of_the_context_goes_anywhere_and_shares_the_request(start: Callable[[Callable[[], str]], str]) -> None:
    with app.test_request_context("/view"):
        given = start(copy_current_request_context(lambda: str(id(request.environ))))

        assert given == str(id(request.environ))


def test_popping_contexts_in_the_wrong_order_is_noticed() -> None:
    first, second = (app.test_request_context(path) for path in REQUESTS[:2])

    def interleaved() -> None:
        first.push()
        second.push()
        first.pop()

    with pytest.raises(AssertionError, match="Popped wrong request context"):
        contextvars.copy_context().run(interleaved)


def test_what_a_request_left_in_a_variable_is_there_in_the_next_of_its_thread() -> None:
    site = Flask(__name__)

    @site.get("/")
    def _view() -> list[bool]:
        left = ["path" in g, variable.get(None) is not None]
        g.path = "/"
        variable.set("/")
        return left

    def two_requests() -> list[Any]:
        return [site.test_client().get("/").get_json() for _ in range(2)]

    assert contextvars.Context().run(two_requests) == [[False, False], [False, True]]
