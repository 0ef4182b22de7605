"""Visitors of the foreign application, as its own people would write them."""

from locust import FastHttpUser, task


class Shopper(FastHttpUser):
    """Looks around, and sometimes at the tea."""

    @task(3)
    def look(self) -> None:
        """Fetch the first page."""
        self.client.get("/")

    @task
    def tea(self) -> None:
        """Fetch the price, and check it."""
        with self.client.get("/tea", catch_response=True) as response:
            if response.text != "3.50":
                response.failure("price")
