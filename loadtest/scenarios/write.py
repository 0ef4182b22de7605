"""write: one insert."""

from http import HTTPStatus

from locust import task

from loadtest.scenarios.base import Scenario


class Write(Scenario):
    """POST /api/entries."""

    @task
    def write(self) -> None:
        """Store an entry."""
        entry = {"name": "Load test", "message": "Written to find out how long it takes."}
        self.fetch("/api/entries", "write", contains=b'"id"', method="POST", status=HTTPStatus.CREATED, json=entry)
