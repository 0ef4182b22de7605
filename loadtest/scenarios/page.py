"""page: a template and a database read."""

from locust import task

from loadtest.scenarios.base import Scenario


class Page(Scenario):
    """GET /lab/page."""

    @task
    def page(self) -> None:
        """Fetch the page, to its end."""
        self.fetch("/lab/page", "page", contains=b"</html>")
