"""A Flask application of somebody else's."""

import os
import signal
from pathlib import Path

from flask import Flask

from tests.clients import wait_until

app = Flask(__name__)


@app.get("/")
def index() -> str:
    return "shop"


@app.get("/things/<int:number>")
def thing(number: int) -> tuple[str, dict[str, str]]:
    return str(1 // number), {"Server-Timing": "app;dur=1.0, db;dur=250.0"}


@app.post("/things")
def sell() -> str:
    return "sold"


@app.get("/slow")
def slow() -> str:
    wait_until(Path("release").exists, "released")
    return "slow"


@app.get("/die")
def die() -> str:
    os.kill(os.getpid(), signal.SIGKILL)
    return ""


def create_app() -> Flask:
    return app
