"""Visitors of the foreign application, as its own people would write them."""

from locust import HttpUser, SequentialTaskSet, between, task
from locust.exception import StopUser


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


class Entering(HttpUser):
    """Enters the shop before anything else."""

    abstract = True
    wait_time = between(0.5, 1)

    def on_start(self) -> None:
        """Enter."""
        self.client.get("/up", name="enter")


class Shopper(Entering):
    """Visits again and again."""

    tasks = [Visit]  # noqa: RUF012 - as Locust has it


class Guest(Entering):
    """Leaves after a single look: each arrival is a new visitor."""

    @task
    def look(self) -> None:
        """Fetch the first page, and go home."""
        self.client.get("/")
        raise StopUser
