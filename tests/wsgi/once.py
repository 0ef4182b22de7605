"""An application that writes down where it is prepared, as a line of the file `notes` in the current folder."""

import os
import threading
import time
from pathlib import Path

from flask import Flask

_lock = threading.Lock()
_prepared: set[int] = set()
beats: list[float] = []


def note(what: str) -> None:
    """Write down what this process did."""
    with Path("notes").open("a") as notes:
        notes.write(f"{what} {os.getpid()}\n")


def _beat() -> None:
    while True:
        beats.append(time.monotonic())
        time.sleep(0.01)


def create_app() -> Flask:
    """Make it, with a thread in the background."""
    app = Flask(__name__)
    note("the factory")
    threading.Thread(target=_beat, daemon=True).start()

    @app.before_request
    def _first() -> None:
        with _lock:  # two threads may have the first two requests
            if os.getpid() not in _prepared:
                _prepared.add(os.getpid())
                note("before_request, once")

    @app.get("/")
    def view() -> dict[str, object]:
        count, until = len(beats), time.monotonic() + 1
        while len(beats) == count and time.monotonic() < until:
            time.sleep(0.01)
        return {"pid": os.getpid(), "beats": len(beats) > count}

    return app


note("the module")
