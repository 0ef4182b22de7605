"""A Flask application that says how its server calls it."""

import sys
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, request, stream_with_context
from werkzeug.wsgi import ClosingIterator

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

app = Flask(__name__)
steps: list[str] = []


class Watched:
    """WSGI middleware that notes each step between gunicorn and the application."""

    def __init__(self, wrapped: Callable[..., Iterable[bytes]]) -> None:
        self._app = wrapped

    def __call__(self, environ: "WSGIEnvironment", start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/body":
            return self._app(environ, start_response)
        response = start_response.__self__
        steps[:] = ["gunicorn calls the application"]

        def start(*arguments: Any) -> Callable[[bytes], object]:
            write: Callable[[bytes], object] = start_response(*arguments)
            steps.append(f"start_response() is called: header {'sent' if response.headers_sent else 'not sent'}")
            return write

        def pieces(body: Iterable[bytes]) -> Iterator[bytes]:
            steps.append("gunicorn asks for the first piece")
            for piece in body:
                yield piece
                steps.append(f"gunicorn asks for the next: header {'sent' if response.headers_sent else 'not sent'}")

        body = self._app(environ, start)
        steps.append("the application returns the body")
        return ClosingIterator(pieces(body), [lambda: steps.append("gunicorn calls close()")])


app.wsgi_app = Watched(app.wsgi_app)  # type: ignore[method-assign]


@app.before_request
def _before() -> None:
    if request.path == "/body":
        steps.append("before_request")


@app.teardown_request
def _teardown(_: BaseException | None) -> None:
    if request.path == "/body":
        steps.append("teardown_request")


@app.get("/")
def view() -> list[tuple[str, str]]:
    """Return module and qualified name of each frame, outermost first."""
    return [*_frames(sys._getframe())][::-1]  # noqa: SLF001 - as its documentation has it


def _frames(frame: FrameType | None) -> Iterator[tuple[str, str]]:
    while frame:
        yield str(frame.f_globals.get("__name__")), frame.f_code.co_qualname
        frame = frame.f_back


@app.get("/body")
def body() -> Response:
    """Answer in two pieces."""
    steps.append("the view runs")
    return Response(iter([b"one", b"two"]))


@app.get("/stream")
def stream() -> Response:
    """Answer with a generator that needs the request."""
    pieces = (request.path for _ in range(1))
    return Response(stream_with_context(pieces) if request.args else pieces)


@app.get("/steps")
def told() -> list[str]:
    """Return the steps of the last request to /body, none before its end."""
    end = "gunicorn calls close()"
    return steps[: steps.index(end) + 1] if end in steps else []
