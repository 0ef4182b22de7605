"""Visitors of the foreign application, as its own people would write them."""

from locust import HttpUser, SequentialTaskSet, between, task


class Visit(SequentialTaskSet):
    """Looks around, and then at the tea."""

    @task(3)
    def look(self) -> None:
        """Fetch the first page."""
        self.client.get("/")

    @task
    def tea(self) -> None:
        """Fetch the price, check it, and begin again."""
        with self.client.get("/tea", catch_response=True) as response:
            if response.text != "3.50":
                response.failure("price")
        self.interrupt()  # type: ignore[no-untyped-call]


class Shopper(HttpUser):
    """Enters the shop once, and visits it again and again."""

    wait_time = between(1, 3)
    tasks = [Visit]  # noqa: RUF012 - as Locust has it

    def on_start(self) -> None:
        """Enter."""
        self.client.get("/up", name="enter")
