"""The pages: list, form, one entry, and what happens to a request."""

import os
import socket
from typing import Annotated

from flask import Blueprint, Response, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, Field

from kit_app import entries
from kit_app.schemas import CURSOR_PATTERN, MESSAGE_LENGTH, NAME_LENGTH, InvalidInputError, NewEntry, validate
from kit_flask.record import RequestRecord, current_record

bp = Blueprint("pages", __name__)

ENTRIES_PER_PAGE = 10
_Cursor = Annotated[str, Field(pattern=CURSOR_PATTERN)]


class PageQuery(BaseModel):
    """Which page of the list; its number is for the reader alone."""

    after: _Cursor | None = None
    before: _Cursor | None = None
    page: Annotated[int, Field(ge=1, le=1_000_000)] = 1


@bp.get("/")
def index() -> str:
    """The newest entries and the form, or other entries and no form."""
    return _render_index({}, {})


def _render_index(typed: dict[str, str], errors: dict[str, str]) -> str:
    try:
        query = validate(PageQuery, request.args.to_dict())
    except InvalidInputError:
        abort(404, "There is no such page of the guestbook.")
    page = entries.latest(ENTRIES_PER_PAGE, query.after, query.before)
    is_first = query.after is None and query.before is None
    limits = {"name": NAME_LENGTH, "message": MESSAGE_LENGTH}
    number = 1 if is_first else max(query.page, 2)
    return render_template("index.html", page=page, number=number, typed=typed, errors=errors, limits=limits)


@bp.post("/entries")
def sign() -> ResponseReturnValue:
    """Store an entry, then send the browser to the list: reloading that does not sign again."""
    # Browsers send the line breaks of a textarea as CR LF, and count them as one character.
    typed = {name: request.form.get(name, "").replace("\r\n", "\n") for name in ("name", "message")}
    try:
        new = validate(NewEntry, typed)
    except InvalidInputError as invalid:
        return _render_index(typed, {error.field: error.detail for error in invalid.errors}), 422
    entries.sign(new)
    flash("Thank you for signing.")
    return redirect(url_for(".index"), 303)


@bp.get("/entries/<entry_id:entry_id>")
def entry(entry_id: int) -> str:
    """One entry."""
    found = entries.find(entry_id) or abort(404, "There is no such entry.")
    return render_template("entry.html", entry=found)


@bp.get("/about")
def about() -> str:
    """The way of a request, drawn with the times of this very one."""
    entries.latest(1)
    record = current_record()
    assert record  # noqa: S101 - each request has one
    process = {"container": socket.gethostname(), "pid": os.getpid(), "server": request.environ.get("SERVER_SOFTWARE", "unknown")}
    return render_template("about.html", record=record, process=process, **_times(record))


def _times(record: RequestRecord) -> dict[str, object]:
    """Return the whole time and each station's (start, length) on it, in milliseconds; the app's runs until now."""
    bars, at_s = {}, 0.0
    for name, length_s in (("gateway", record.gateway_s), ("firewall" if record.inspected else "queue", record.queue_s)):
        if length_s is not None:
            bars[name] = (at_s * 1000, length_s * 1000)
            at_s += length_s
    app_s = record.elapsed_s
    bars["flask"] = (at_s * 1000, app_s * 1000)
    bars["database"] = ((at_s + record.database_after_s) * 1000, record.database_s * 1000)
    return {"bars": bars, "total_ms": (at_s + app_s) * 1000}


@bp.get("/robots.txt")
def robots() -> Response:
    """What crawlers may read: everything but the API."""
    return Response("User-agent: *\nDisallow: /api/\n", content_type="text/plain; charset=utf-8")
