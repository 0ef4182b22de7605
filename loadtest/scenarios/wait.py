"""wait: the server calls another service that takes 50 ms."""

from locust import task

from loadtest.scenarios.base import Scenario


class Wait(Scenario):
    """GET /lab/wait."""

    @task
    def wait_for_downstream(self) -> None:
        """Have the server wait. (A task named `wait` would replace Locust's own method.)"""
        self.fetch("/lab/wait?ms=50", "wait", contains=b'"waited_ms"')
