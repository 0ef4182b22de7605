"""null: what the gateway answers by itself. It measures the generator."""

from locust import task

from loadtest.scenarios.base import Scenario


class Null(Scenario):
    """GET the URL that was given, nothing behind it."""

    @task
    def null(self) -> None:
        """Fetch it."""
        self.fetch("", "null")
