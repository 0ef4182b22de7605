"""Sends the same requests by Locust's client and by the generator's, and prints as JSON what arrived and what was reported."""

import json
import os
import resource
from typing import Any

from gevent.server import StreamServer
from locust import FastHttpUser
from locust.env import Environment

from loadtest.measure.client import patch_client

# Each is sent twice: the second time the generator's client remembers it.
REQUESTS: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "", {}),
    ("GET", "/a b?c=d;e#f", {"name": "name"}),
    ("GET", "/?", {"headers": {"X-One": "1", "x-two": "2"}}),
    ("GET", "/?", {"headers": {"x-two": "2", "X-One": "1"}}),
    ("GET", "/", {"params": {"q": "ä"}}),
    ("GET", "/missing", {}),
    ("GET", "/moved", {}),
    ("GET", "/moved", {"allow_redirects": False}),
    ("POST", "/", {"data": "body"}),
    ("POST", "/", {"json": {"a": 1}}),
    ("POST", "/", {}),
]
ANSWERS = {b"/missing": b"404 Not Found", b"/moved": b"302 Found\r\nLocation: /new?x"}


CONNECTIONS: list[object] = []
ARRIVED: list[str] = []
REPORTED: list[dict[str, Any]] = []


def serve(line: Any, peer: object) -> None:
    CONNECTIONS.append(peer)
    while request := line.recv(65_536):
        ARRIVED.append(request.decode("latin-1"))
        status = ANSWERS.get(request.split()[1], b"200 OK")
        line.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\nok")


def report(response: Any, exception: Any, **facts: Any) -> None:
    known = {name: facts[name] for name in ("request_type", "name", "url", "response_length", "context")}
    REPORTED.append(known | {"error": repr(exception), "status": response.status_code, "body": response.text, "of": response.url})


def seen(environment: Environment, *, light: bool) -> dict[str, Any]:
    for things in (CONNECTIONS, ARRIVED, REPORTED):
        things.clear()
    user = FastHttpUser(environment)
    if light:
        patch_client(user)
    for method, path, settings in REQUESTS:
        for _ in range(2):
            user.client.request(method, path, **settings)
    return {"connections": len(CONNECTIONS), "arrived": ARRIVED.copy(), "reported": REPORTED.copy()}


def main() -> None:
    # Descriptors in use, as with many visitors: geventhttpclient's own look at a connection knows none above 1023.
    resource.setrlimit(resource.RLIMIT_NOFILE, (2048, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    for _ in range(1100):
        os.dup(0)
    server = StreamServer(("127.0.0.1", 0), serve)
    server.start()
    FastHttpUser.host = f"http://127.0.0.1:{server.server_port}"
    environment = Environment()
    environment.events.request.add_listener(report)  # type: ignore[no-untyped-call]
    print(json.dumps([seen(environment, light=light) for light in (False, True)]))


main()
