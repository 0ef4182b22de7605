"""The picture in docs/wsgi.md, drawn from the frames that real servers leave on the stack of a Flask view:

python -m tests.wsgi.frames > docs/wsgi.svg
"""

import re
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx
from werkzeug.serving import make_server

from tests.budgets import ROOT
from tests.gunicorn_conf.process import CONF, Gunicorn
from tests.wsgi.traced import app

Frames = Sequence[tuple[str, str]]
SERVERS = {
    "sync": "gunicorn, sync: in the main thread",
    "gthread": "gunicorn, gthread: in a thread of its pool",
    "gevent": "gunicorn, gevent: a greenlet per connection",
    "tornado": "gunicorn, tornado: in its event loop",
    "werkzeug": "Werkzeug's development server: a new thread",
}
FLASK = "Flask"
MASTER = "gunicorn's master, before the fork"
# Not the standard library: its frames differ between versions of Python.
SHOWN = ("gunicorn", "gevent", "tornado", "werkzeug", "flask")
LINE, WIDTH = 17, 400


def under_gunicorn(worker_class: str) -> Frames:
    """Return the frames of a view under gunicorn.conf.py with this worker class."""
    settings = {"APP_MODULE": "tests.wsgi.traced:app", "PYTHONPATH": str(ROOT), "GUNICORN_WORKER_CLASS": worker_class}
    with tempfile.TemporaryDirectory() as folder:
        gunicorn = Gunicorn(Path(folder), CONF, settings, [])
        try:
            gunicorn.wait_until_ready()
            return shown(gunicorn.get("/")[1])
        finally:
            gunicorn.stop()


def under_werkzeug() -> Frames:
    """Return the frames of a view under `flask run`'s server."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        return shown(httpx.get(f"http://127.0.0.1:{server.server_port}/").json())
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def shown(frames: Frames) -> Frames:
    """Leave out the standard library, and the middleware and view of the test."""
    return [(module, name) for module, name in frames if module.split(".")[0] in SHOWN]


def frames() -> dict[str, Frames]:
    """Return the frames of each box of the picture. What Flask does is the same under all of them."""
    found = {name: under_werkzeug() if name == "werkzeug" else under_gunicorn(name) for name in SERVERS}
    flask = [frame for frame in found["sync"] if frame[0] == "flask.app"]
    boxes: dict[str, Frames] = {}
    for name, stack in found.items():
        assert [*stack[-len(flask) :]] == flask, name
        boxes[SERVERS[name]] = [frame for frame in stack[: -len(flask)] if frame[1] != "run" and frame[0] != "gunicorn.app.base"]
    # sync and tornado never leave the master's function: the worker is its copy.
    forked = next(n for n, (_, name) in enumerate(boxes[SERVERS["sync"]]) if name == "Arbiter.spawn_worker") + 1
    master = boxes[SERVERS["sync"]][:forked]
    assert boxes[SERVERS["tornado"]][:forked] == master
    for name in ("sync", "tornado"):
        boxes[SERVERS[name]] = boxes[SERVERS[name]][forked:]
    return {MASTER: master, **boxes, FLASK: flask}


def draw(boxes: Mapping[str, Frames]) -> str:
    """Return the picture: a box for each server, and under all of them what Flask does."""
    style = re.search(r"  <style>.*?</style>\n", (ROOT / "docs/request.svg").read_text(), re.DOTALL)
    assert style
    body, y = "", 8
    for title, stack in boxes.items():
        if title == FLASK:
            body += text(y + 12, "s", "under all of them: application(environ, start_response)")
            y += 20
        lines = [*stack, ("", "your view")] if title == FLASK else stack
        height = 26 + LINE * len(lines)
        body += f'  <rect class="box" x="8" y="{y}" width="{WIDTH - 16}" height="{height}" rx="6"/>\n' + text(y + 18, "t", title)
        for number, (module, name) in enumerate(lines, start=1):
            body += text(y + 18 + LINE * number, "m", name.replace(".<locals>", ""))
            body += text(y + 18 + LINE * number, "s", module.partition(".")[2], right=True) if module else ""
        y += height + 8
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" viewBox="0 0 {WIDTH} {y}"'
        ' role="img" aria-labelledby="title desc">\n'
        '  <title id="title">The frames between a server and a view</title>\n'
        '  <desc id="desc">The stack of a Flask view, outermost frame first: what each of five servers has on it, and below, '
        f"the same under all, {', '.join(name for _, name in boxes[FLASK])} and the view.</desc>\n"
        f'{style[0]}  <rect class="paper" width="{WIDTH}" height="{y}" rx="8"/>\n{body}</svg>\n'
    )


def text(y: int, kind: str, words: str, *, right: bool = False) -> str:
    """Return one text of the picture."""
    place = f'x="{WIDTH - 16}" y="{y}" text-anchor="end"' if right else f'x="16" y="{y}"'
    return f'  <text class="{kind}" {place}>{words}</text>\n'


if __name__ == "__main__":
    sys.stdout.write(draw(frames()))
