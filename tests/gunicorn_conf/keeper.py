"""A Flask application that keeps what is sent to it, in the current folder."""

from pathlib import Path

from flask import Flask, request

app = Flask(__name__)


@app.get("/")
def ready() -> dict[str, str]:
    return {}


@app.post("/")
def keep() -> str:
    Path("begun").touch()
    Path("kept").write_bytes(request.get_data())
    return "kept"
