"""cpu: 10 ms of Python."""

from locust import task

from loadtest.scenarios.base import Scenario


class Cpu(Scenario):
    """GET /lab/cpu."""

    @task
    def cpu(self) -> None:
        """Have the server compute."""
        self.fetch("/lab/cpu?ms=10", "cpu", contains=b'"cpu_ms"')
