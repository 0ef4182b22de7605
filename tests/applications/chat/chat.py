"""Flask-SocketIO's events and flask-sock's WebSocket; both send back what they are told."""

import os
from pathlib import Path

from flask import Flask
from flask_sock import Sock
from flask_socketio import SocketIO
from simple_websocket import Server

app = Flask(__name__)
app.config.update(SECRET_KEY=Path(os.environ["SECRET_KEY_FILE"]).read_text(), SOCK_SERVER_OPTIONS={"ping_interval": 25})
socketio = SocketIO(app, async_mode="threading")
sock = Sock(app)


@app.get("/healthz")
@app.get("/")
def healthz() -> str:
    """Answer without asking anything."""
    return "ok"


@socketio.on("say")
def say(text: str) -> str:
    """Acknowledge an event with its own text."""
    return text


@sock.route("/ws")
def echo(socket: Server) -> None:
    """Send each message back."""
    while True:
        socket.send(socket.receive())
