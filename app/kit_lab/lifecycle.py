"""The hooks and signals of one request, in the order in which they fired.

The order is not written down here: every hook below adds its own name when Flask calls it. The last ones fire after
the view has returned; the answer can show them because its body is made when the server asks for it, after all hooks.

The page is an application of its own within the site: hooks and receivers of signals cost every request of the application
that has them, here 50 µs.
"""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING

import flask
from blinker import NamedSignal
from flask import Blueprint, Flask, Response, json

from kit_app import problems, security
from kit_app.settings import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

bp = Blueprint("lab_lifecycle", __name__)

PATH = "/lab/lifecycle"
_events: ContextVar[list[str]] = ContextVar("lifecycle_events")


def _note(event: str) -> None:
    _events.get().append(event)


class OncePerProcess:
    """What `before_first_request` did until Flask 2.3, and what it was meant for: work once in each worker process.

    The factory also runs once in each worker, and is the better place; but with gunicorn's preload_app it runs in the
    master, before the fork, where a thread or a connection must not be started. Here it waits for the first request
    to this page, so that it can be seen.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.pid = 0
        self.runs = 0

    def __call__(self) -> None:
        """Do the work when this process has not done it yet."""
        with self._lock:  # two threads may have the first two requests
            if self.pid == os.getpid():
                return
            self.pid, self.runs = os.getpid(), self.runs + 1
        _note("first request of this process")


_first = OncePerProcess()


class _Middleware:
    def __init__(self, others: "WSGIApplication", make: Callable[[], Flask]) -> None:
        # Not made before it is asked for: once a signal has a receiver, each request of any application looks for its own.
        self._others, self._app = others, cache(make)

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if environ.get("PATH_INFO") != PATH:
            return self._others(environ, start_response)
        token = _events.set([])
        try:
            _note("wsgi middleware: in")
            answer = self._app()(environ, start_response)
            _note("wsgi middleware: out")
            return answer
        finally:
            # The generator has its own hold on the list; a thread's next request must not write to it.
            _events.reset(token)


@bp.get("/lifecycle")
def lifecycle() -> str:
    """Show the order; with ?fail=1 the view raises, and got_request_exception fires (the status is then 500)."""
    _note("view")
    flask.after_this_request(_after("after_this_request"))
    if flask.request.args.get("fail") == "1":
        raise RuntimeError("the view failed because it was asked to")
    return flask.render_template_string("")


@bp.after_app_request
def _show(response: Response) -> Response:
    # A generator: it runs when everything else is over.
    response.response, response.content_type = _body(_events.get()), "application/json"
    del response.headers["Content-Length"]
    return response


def _body(events: list[str]) -> Iterator[bytes]:
    yield json.dumps({"pid": os.getpid(), "once": {"pid": _first.pid, "runs": _first.runs}, "events": events}).encode()


def _hook(event: str) -> Callable[..., None]:
    return lambda *_arguments, **_named: _note(event)


def _after(event: str) -> Callable[[Response], Response]:
    def hook(response: Response) -> Response:
        _note(event)
        return response

    return hook


bp.before_request(_hook("blueprint before_request"))
bp.before_request(_first)
bp.after_request(_after("blueprint after_request"))
bp.teardown_request(_hook("blueprint teardown_request"))


def _make(settings: Settings) -> Flask:
    app = Flask(__name__)
    problems.init_app(app)
    security.init_app(app, settings.secret)
    app.register_blueprint(bp, url_prefix="/lab")
    app.url_value_preprocessor(_hook("url_value_preprocessor"))
    app.before_request(_hook("before_request"))
    app.after_request(_after("after_request"))
    app.teardown_request(_hook("teardown_request"))
    app.teardown_appcontext(_hook("teardown_appcontext"))
    for name, signal in vars(flask.signals).items():
        if isinstance(signal, NamedSignal):
            # Signals hold their receivers weakly: a closure without another reference would be gone at once.
            signal.connect(_hook(f"signal {name}"), app, weak=False)
    return app


def init_app(site: Flask, settings: Settings) -> None:
    """Add the page to `site`, as an application that listens to every hook and signal of its own."""
    site.wsgi_app = _Middleware(site.wsgi_app, lambda: _make(settings))  # type: ignore[method-assign]
