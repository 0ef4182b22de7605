"""upload: 1 MB towards the server."""

import hashlib

from locust import task

from loadtest.scenarios.base import Scenario

BODY = bytes(range(250)) * 4000
DIGEST = hashlib.sha256(BODY).hexdigest().encode()


class Upload(Scenario):
    """POST /lab/upload."""

    @task
    def upload(self) -> None:
        """Send a body; the server proves by its digest that all of it arrived."""
        headers = {"Content-Type": "application/octet-stream"}
        self.fetch("/lab/upload", "upload", contains=DIGEST, method="POST", data=BODY, headers=headers)
