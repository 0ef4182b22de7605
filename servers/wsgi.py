"""The application of APP_MODULE (in gunicorn's notation), as servers import it that only know a name in a module."""

import mmap
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from gunicorn.util import import_app

from gunicorn_hooks.application import call_factory

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_named = SimpleNamespace(wsgi=import_app(os.environ["APP_MODULE"]))
call_factory(_named)
_app: "WSGIApplication" = _named.wsgi
_prefix = os.environ.get("SCRIPT_NAME", "")  # URL_PREFIX
# start.py sets this byte when the container drains. Shared memory: to look at it costs no system call.
with Path(os.environ["DRAIN_FLAG"]).open("rb") as _file:
    _draining = mmap.mmap(_file.fileno(), 1, prot=mmap.PROT_READ)


def application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    """Answer, below URL_PREFIX too, and close kept-alive connections while the container drains."""
    path = environ.get("PATH_INFO", "")
    if _prefix and not environ.get("SCRIPT_NAME") and path.startswith(f"{_prefix}/"):  # gunicorn has done so
        environ["SCRIPT_NAME"], environ["PATH_INFO"] = _prefix, path.removeprefix(_prefix)
    if environ.get("CONTENT_LENGTH"):
        environ.pop("wsgi.input_terminated", None)  # or half a body looks whole (gunicorn_hooks/requests.py)
    if not _draining[0]:
        return _app(environ, start_response)

    def closing(status: str, headers: list[tuple[str, str]], *rest: object) -> Callable[[bytes], object]:
        return start_response(status, [*headers, ("Connection", "close")], *rest)  # type: ignore[arg-type]

    return _app(environ, closing)
