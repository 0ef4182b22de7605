"""Every error answers with its request id: problem+json (RFC 9457) for programs, a page for people."""

import errno
import logging
from http import HTTPStatus

from flask import Flask, Response, render_template, request
from flask.typing import ResponseReturnValue
from sqlalchemy.exc import InterfaceError, OperationalError, TimeoutError as PoolTimeoutError
from werkzeug.exceptions import HTTPException, NotFound, ServiceUnavailable

from kit_app.schemas import InvalidInputError, Problem
from kit_flask.record import current_record

_logger = logging.getLogger(__name__)

PROBLEM_JSON = "application/problem+json"
# Programs use these; they get problem+json whatever they accept.
_FOR_PROGRAMS = ("/api/", "/lab/", "/healthz", "/readyz")
# Seconds after which a client may try again. A database restart takes a few.
RETRY_AFTER_S = 5
# Werkzeug's own text supposes a typed address.
NotFound.description = "There is nothing at this address: the link may be old, or it was cut off."


def _wants_page() -> bool:
    if request.path.startswith(_FOR_PROGRAMS):
        return False
    offers = ["text/html", PROBLEM_JSON, "application/json"]
    return request.accept_mimetypes.best_match(offers, default="text/html") == "text/html"


def _answer(error: HTTPException) -> ResponseReturnValue:
    status = HTTPStatus(error.code or 500)
    record = current_record()
    problem = Problem(
        title=status.phrase,
        status=status,
        detail=error.description or status.description,
        request_id=record.request_id if record else "",
        errors=error.errors if isinstance(error, InvalidInputError) else None,
    )
    headers = [(name, value) for name, value in error.get_headers() if name != "Content-Type"]
    if _wants_page():
        return render_template("error.html", problem=problem), status, headers
    return Response(problem.model_dump_json(exclude_none=True), status, headers, content_type=PROBLEM_JSON)


def _database_away(error: Exception) -> ResponseReturnValue:
    # One line: the database being away is no mistake of this code, and its log would drown in tracebacks.
    _logger.error("the database is not available: %s", str(error).partition("\n")[0])
    return _answer(ServiceUnavailable("The database is not available.", retry_after=RETRY_AFTER_S))


def _disk_full(error: OSError) -> ResponseReturnValue:
    if error.errno != errno.ENOSPC:
        raise error
    _logger.error("%s", error)
    full = HTTPException("There is no room for the body of this request.")
    full.code = 507
    return _answer(full)


def init_app(app: Flask) -> None:
    """Answer the errors of `app`."""
    # An unhandled exception arrives here too, as InternalServerError.
    app.register_error_handler(HTTPException, _answer)
    for away in (OperationalError, InterfaceError, PoolTimeoutError):
        app.register_error_handler(away, _database_away)
    app.register_error_handler(OSError, _disk_full)
