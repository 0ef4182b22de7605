"""One kind of work each: GET /lab/hello, /lab/json, … The answer must hold what proves that the work was done."""

import hashlib
from http import HTTPStatus

from locust import task

from loadtest.scenarios.base import Scenario

BODY = bytes(range(250)) * 4000
DIGEST = hashlib.sha256(BODY).hexdigest().encode()


class Hello(Scenario):
    """Six bytes: the least that a request can cost."""

    @task
    def hello(self) -> None:
        self.fetch("/lab/hello", "hello", contains=b"hello")


class Json(Scenario):
    """A small JSON answer."""

    @task
    def get_json(self) -> None:
        self.fetch("/lab/json", "json", contains=b'"numbers"')


class Page(Scenario):
    """A template and a database read."""

    @task
    def page(self) -> None:
        self.fetch("/lab/page", "page", contains=b"</html>")


class Cpu(Scenario):
    """10 ms of Python."""

    @task
    def cpu(self) -> None:
        self.fetch("/lab/cpu?ms=10", "cpu", contains=b'"cpu_ms"')


class Wait(Scenario):
    """The server calls another service that takes 50 ms."""

    @task
    def wait_for_downstream(self) -> None:
        # A task named `wait` would replace Locust's own method.
        self.fetch("/lab/wait?ms=50", "wait", contains=b'"waited_ms"')


class Mixed(Scenario):
    """Nine fast requests for each slow one. The fast ones tell whether they have to stand in line behind the slow."""

    @task(9)
    def fast(self) -> None:
        self.fetch("/lab/hello", "fast", contains=b"hello")

    @task(1)
    def slow(self) -> None:
        self.fetch("/lab/wait?ms=250", "slow", contains=b'"waited_ms"')


class Write(Scenario):
    """POST /api/entries: one insert."""

    @task
    def write(self) -> None:
        entry = {"name": "Load test", "message": "Written to find out how long it takes."}
        self.fetch("/api/entries", "write", contains=b'"id"', method="POST", status=HTTPStatus.CREATED, json=entry)


class Upload(Scenario):
    """1 MB towards the server, which proves by its digest that all of it arrived."""

    @task
    def upload(self) -> None:
        headers = {"Content-Type": "application/octet-stream"}
        self.fetch("/lab/upload", "upload", contains=DIGEST, method="POST", data=BODY, headers=headers)


class Stream(Scenario):
    """20 chunks in two seconds, as server-sent events come. A server with one slot per process serves one at a time."""

    @task
    def stream(self) -> None:
        self.fetch("/lab/stream?chunks=20&interval_ms=100", "stream", contains=b"chunk 20 of 20\n")


class Null(Scenario):
    """What the gateway answers by itself, at the URL that was given: it measures the generator."""

    @task
    def null(self) -> None:
        self.fetch("", "null")
