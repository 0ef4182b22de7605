"""An application with a WebSocket, as flask-sock has it, and with server-sent events."""

import time
from collections.abc import Iterable, Iterator
from typing import Any

from flask import Flask, Response, request
from simple_websocket import ConnectionClosed, Server

app = Flask(__name__)


class Closed(Response):
    """The answer after a WebSocket: its connection is no HTTP any more."""

    def __call__(self, *_request: Any) -> Iterable[bytes]:
        raise StopIteration


@app.get("/")
def index() -> str:
    return f"upgrade={request.headers.get('Upgrade', '')}"


@app.route("/ws", websocket=True)
@app.route("/ws/room", websocket=True)
def echo() -> Response:
    """Say everything twice."""
    socket = Server.accept(request.environ)
    try:
        while True:
            socket.send(socket.receive() * 2)
    except ConnectionClosed:
        return Closed()


@app.get("/events")
def events() -> Response:
    """Server-sent events: a comment every `s` seconds, `n` times, and then an event."""
    count, pause_s = request.args.get("n", 1, int), request.args.get("s", 0.0, float)

    def lines() -> Iterator[str]:
        for _ in range(count):
            yield ": still here\n\n"
            time.sleep(pause_s)
        yield "data: done\n\n"

    return Response(lines(), mimetype="text/event-stream", headers={"X-Accel-Buffering": "no"})
