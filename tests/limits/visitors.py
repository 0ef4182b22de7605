"""Visitors for the figures of a flood: each has an address of its own, as a load balancer would report it."""

from itertools import count

from locust import FastHttpUser, task

ADDRESSES = 250  # the budget is of each address: in turn, none comes near it
_numbers = count()


class Visitor(FastHttpUser):
    """GET /lab/json, over a connection that stays."""

    @task
    def fetch(self) -> None:
        """Fetch as the next visitor, and check the status: 429 is as much a failure as 500."""
        address = f"203.0.113.{1 + next(_numbers) % ADDRESSES}"
        headers = {"Host": "localhost", "X-Forwarded-For": address}
        with self.client.get("/lab/json", headers=headers, catch_response=True) as response:
            if response.status_code != 200:
                response.failure(f"status {response.status_code}")
