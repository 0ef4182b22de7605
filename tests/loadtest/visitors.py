"""Locust users for the tests of the generator: the same request in three models."""

import time
from typing import Any

import gevent
from locust import FastHttpUser, HttpUser, SequentialTaskSet, TaskSet, between, constant, constant_throughput, task


class Visitor(FastHttpUser):
    """GET /."""

    @task
    def fetch(self) -> None:
        """Fetch, and check the body."""
        with self.client.get("/", name="hello", catch_response=True) as response:
            if response.content != b"hello\n":
                response.failure("body")


class DueVisitor(FastHttpUser):
    """Tells the server when each request was due: the server's record is then the truth."""

    @task
    def fetch(self) -> None:
        """Fetch."""
        self.client.get(f"/?due={self.visit.due_s!r}", name="hello")  # type: ignore[attr-defined]


class Steps(SequentialTaskSet):
    """As most locustfiles have it: a visitor logs in, and does one thing after the other."""

    wait_time = between(5, 9)
    done: list[str]

    def on_start(self) -> None:
        """Log in; the first request of a visitor."""
        self.done = []
        self.fetch("login")

    @task
    def look(self) -> None:
        """Fetch."""
        self.fetch("look")

    @task
    class Choose(TaskSet):
        """Fetch, and go back to the steps."""

        @task
        def choose(self) -> None:
            """Fetch."""
            self.parent.fetch("choose")
            self.interrupt()  # type: ignore[no-untyped-call]

    @task
    def pay(self) -> None:
        """Fetch in the middle of another answer's check, and begin anew."""
        with self.client.get(self.path(), name="pay", catch_response=True) as response:
            self.fetch("receipt")
            if response.text != "hello\n":
                response.failure("body")
        assert self.done == ["login", "look", "choose", "receipt"]
        self.interrupt()  # type: ignore[no-untyped-call]

    def on_stop(self) -> None:
        """Log out."""
        self.fetch("logout")

    def fetch(self, name: str) -> None:
        """Fetch, and remember."""
        self.done.append(name)
        self.client.get(self.path(), name=name)

    def path(self) -> str:
        """Tell the server when a request of the schedule was due."""
        visit: Any = self.user.visit  # type: ignore[attr-defined]
        return f"/?due={visit.due_s!r}" if visit.planned else "/"


class Browser(HttpUser):
    """Steps by Locust's other client."""

    tasks = [Steps]  # noqa: RUF012 - as Locust has it


class PlainBrowser(HttpUser):
    """What DueVisitor does, by Locust's other client and in a task set."""

    @task
    class Due(TaskSet):
        """Stays in it."""

        @task
        def fetch(self) -> None:
            """Fetch."""
            self.client.get(f"/?due={self.user.visit.due_s!r}", name="hello")  # type: ignore[attr-defined]


class FastBrowser(FastHttpUser):
    """Steps, and a task that belongs to none of them."""

    tasks = [Steps]  # noqa: RUF012 - as Locust has it

    @task
    def hello(self) -> None:
        """Fetch."""
        self.client.get("/", name="hello")


class Unpausing(FastHttpUser):
    """Locust's closed loop at its fastest: the next request follows the answer."""

    wait_time = constant(0)

    @task
    def fetch(self) -> None:
        """Fetch."""
        self.client.get("")


class PacedVisitor(Visitor):
    """Locust's own way to hold a rate: ten of these at twenty requests a second each."""

    wait_time = constant_throughput(20)


class BrokenVisitor(FastHttpUser):
    """A scenario with a fault."""

    @task
    def fetch(self) -> None:
        """Fail before any request."""
        raise RuntimeError("not today")


class BrokenBrowser(HttpUser):
    """The same in a task set."""

    @task
    class Broken(TaskSet):
        """Has a fault."""

        @task
        def fetch(self) -> None:
            """Fail before any request."""
            raise RuntimeError("not today")


class ImpatientVisitor(FastHttpUser):
    """A scenario whose own time-out runs out: gevent's is no Exception."""

    @task
    def fetch(self) -> None:
        """Wait for longer than it allows itself."""
        with gevent.Timeout(0.01):
            gevent.sleep(1)


class ThoughtfulVisitor(FastHttpUser):
    """Two requests for one arrival."""

    @task
    def visit(self) -> None:
        """Fetch, and fetch again."""
        self.client.get("/", name="first")
        self.client.get("/", name="second")


class SlowGenerator(Visitor):
    """A visitor whose own work holds the generator: it measures itself, and must be found out."""

    @task
    def compute(self) -> None:
        """Hold the only thread of the generator."""
        end_s = time.perf_counter() + 0.05
        while time.perf_counter() < end_s:
            pass
        self.fetch()
