"""A Flask application of somebody else's."""

import os
import signal
import sys
from pathlib import Path

from flask import Flask
from sqlalchemy import create_engine, text

from tests.clients import wait_until

app = Flask(__name__)
engine = create_engine("sqlite://")


@app.get("/")
def index() -> str:
    return "shop"


@app.get("/things/<int:number>")
def thing(number: int) -> tuple[str, dict[str, str]]:
    return str(1 // number), {"Server-Timing": 'app;dur=1.0, db;desc="x";dur=250.0, sold'}


@app.get("/stock/<int:number>")
def stock(number: int) -> str:
    with engine.connect() as connection:
        return str(connection.scalar(text("SELECT :number + 40"), {"number": number}))


@app.get("/broken")
def broken() -> str:
    with engine.connect() as connection:
        return str(connection.scalar(text("SELECT nothing")))


@app.get("/imported")
def imported() -> str:
    return str("opentelemetry" in sys.modules)


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
