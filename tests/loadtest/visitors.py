"""Locust users for the tests of the generator: the same request in three models."""

import time

import gevent
from locust import FastHttpUser, constant, constant_throughput, task


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
        self.client.get(f"/?due={self.visit.intended_s!r}", name="hello")  # type: ignore[attr-defined]


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
