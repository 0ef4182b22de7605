"""json: a small JSON answer."""

from locust import task

from loadtest.scenarios.base import Scenario


class Json(Scenario):
    """GET /lab/json."""

    @task
    def get_json(self) -> None:
        """Fetch a small object."""
        self.fetch("/lab/json", "json", contains=b'"numbers"')
