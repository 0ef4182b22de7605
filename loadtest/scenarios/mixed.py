"""mixed: nine fast requests for each slow one. The fast ones tell whether they have to stand in line behind the slow."""

from locust import task

from loadtest.scenarios.base import Scenario


class Mixed(Scenario):
    """GET /lab/hello, and sometimes a wait of 250 ms."""

    @task(9)
    def fast(self) -> None:
        """Fetch six bytes."""
        self.fetch("/lab/hello", "fast", contains=b"hello")

    @task(1)
    def slow(self) -> None:
        """Have the server wait."""
        self.fetch("/lab/wait?ms=250", "slow", contains=b'"waited_ms"')
