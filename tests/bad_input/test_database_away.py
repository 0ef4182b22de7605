"""The database goes away: 503 with Retry-After instead of a hang or a 500, and recovery by itself."""

import signal
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.conftest import StackFactory
from tests.hardening.versions import tells_version
from tools.reliability.measure.faults import signal_all
from tools.stack import Stack
from tools.stack.compose import docker
from tools.stack.waiting import wait_until

pytestmark = pytest.mark.runtimes("compose")

# The answer is promised within 2 s; a busy machine may take longer, a hang takes 30 s and more.
NO_HANG_S = 10.0


@pytest.fixture
def stack(stack_factory: StackFactory) -> Stack:
    """A stack of this file's own: it is left without a database for a while."""
    return stack_factory({"LIMITS": "off", "APP_REPLICAS": "2", "LAB_ENABLED": "0"})


def database(stack: Stack) -> str:
    return next(unit.id for unit in stack.processes() if unit.service == "database")


AWAY: dict[str, tuple[Callable[[str], object], Callable[[str], object]]] = {
    "stopped": (lambda container: docker("stop", container), lambda container: docker("start", container)),
    "frozen": (lambda container: signal_all(container, signal.SIGSTOP), lambda container: signal_all(container, signal.SIGCONT)),
}


@pytest.fixture(params=list(AWAY))
def database_away(request: pytest.FixtureRequest, stack: Stack) -> Iterator[Callable[[], None]]:
    """Take the database away, by stopping it or by freezing it; the value brings it back."""
    container = database(stack)
    away, back = AWAY[request.param]
    away(container)
    returned = False

    def bring_back() -> None:
        nonlocal returned
        back(container)
        returned = True

    yield bring_back
    if not returned:
        back(container)


def test_the_database_goes_and_comes_back(
    stack: Stack, database_away: Callable[[], None], record_property: Callable[[str, object], None]
) -> None:
    entry = {"name": "Ana", "message": "while the database is away"}
    with httpx.Client(base_url=stack.url, timeout=NO_HANG_S) as client:
        for path in ("/", "/about", "/entries/1", "/api/entries", "/readyz"):
            answer = client.get(path)
            record_property(f"seconds until 503 for {path}", answer.elapsed.total_seconds())
            assert answer.status_code == 503, (path, answer.text)
            assert int(answer.headers["Retry-After"]) > 0
            assert not tells_version(answer.headers.items(), answer.content)
        answer = client.post("/api/entries", json=entry)
        assert answer.status_code == 503
        assert answer.json()["request_id"] == answer.headers["X-Request-ID"]

        # What needs no database goes on.
        assert client.get("/healthz").status_code == 200
        assert client.get("/api/openapi.json").status_code == 200

        database_away()
        wait_until(lambda: client.get("/readyz").status_code == 200, 30, "the app does not find the database again")
        assert client.post("/api/entries", json=entry).status_code == 201
