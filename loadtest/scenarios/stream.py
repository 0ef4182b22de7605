"""stream: an answer that takes its time, as server-sent events do."""

from locust import task

from loadtest.scenarios.base import Scenario


class Stream(Scenario):
    """GET /lab/stream: 20 chunks in two seconds. A server with one slot per process serves one of them at a time."""

    @task
    def stream(self) -> None:
        """Read to the last chunk."""
        self.fetch("/lab/stream?chunks=20&interval_ms=100", "stream", contains=b"chunk 20 of 20\n")
