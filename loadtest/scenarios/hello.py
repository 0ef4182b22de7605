"""hello: the least that a request can cost."""

from locust import task

from loadtest.scenarios.base import Scenario


class Hello(Scenario):
    """GET /lab/hello."""

    @task
    def hello(self) -> None:
        """Fetch six bytes."""
        self.fetch("/lab/hello", "hello", contains=b"hello")
