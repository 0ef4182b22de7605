"""What all scenarios share: patience, and the check of what comes back."""

from http import HTTPStatus
from typing import Any

from locust import FastHttpUser, between
from locust.env import Environment


class Scenario(FastHttpUser):
    """A visitor of the kit. By hand each sends about one request a second; the comparison sets its own pace."""

    abstract = True
    host = "http://127.0.0.1:8080"
    wait_time = between(0.5, 1.5)
    connection_timeout = 5.0
    network_timeout = 40.0  # longer than the gateway waits for the app (35 s): its 504 must arrive
    keeps_cookies = False  # the jar costs a tenth of the generator's time for each request, with and without cookies

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        if not self.keeps_cookies:
            self.client.client.cookiejar = None

    def fetch(
        self, path: str, name: str, *, contains: bytes = b"", method: str = "GET", status: int = HTTPStatus.OK, **request: Any
    ) -> bytes:
        """Send one request; anything but `status` and a body with `contains` is a failure. A fast error is not a fast answer.

        Returns the body. `name` is what the request is called in all figures.
        """
        with self.client.request(method, path, name=name, catch_response=True, **request) as response:
            body: bytes = response.content or b""
            if response.status_code != status:
                if 0 < response.status_code < HTTPStatus.BAD_REQUEST:  # an error status, or none at all, speaks for itself
                    response.failure(f"status {response.status_code} instead of {status}")
            elif contains not in body:
                response.failure("body")
            return body
        return b""
