"""The pages: list, form, one entry, and what happens to a request."""

import os
import socket
from datetime import datetime
from typing import Annotated

from flask import Blueprint, Response, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from markupsafe import Markup
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


@bp.app_template_filter()
def when(moment: datetime) -> Markup:
    """Write a moment in UTC. Not as a macro: for the entries of a page that took three times as long."""
    return Markup(f'<time datetime="{moment.isoformat(timespec="milliseconds")}">{moment:%-d %B %Y, %H:%M} UTC</time>')  # noqa: S704 - no visitor wrote it


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
    entries.sign(new, repr)
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
    """Return the whole time and each station's (start, length) on it, in milliseconds; the app's runs until now.

    The stations in `shared` have one time together: nginx reads the clock when an event begins, so it can say when a request left
    the gateway, and not when its inspection ended.
    """
    shared = [*(["firewall"] if record.inspected else []), "queue", "gunicorn"]
    gateway_s, queue_s, app_s = record.gateway_s or 0.0, record.queue_s or 0.0, record.elapsed_s
    spans = {"flask": (gateway_s + queue_s, app_s), "database": (gateway_s + queue_s + record.database_after_s, record.database_s)}
    spans |= {"gateway": (0.0, gateway_s)} if record.gateway_s is not None else {}
    spans |= dict.fromkeys(shared, (gateway_s, queue_s)) if record.queue_s is not None else {}
    bars = {name: (start_s * 1000, length_s * 1000) for name, (start_s, length_s) in spans.items()}
    return {"bars": bars, "shared": shared, "total_ms": (gateway_s + queue_s + app_s) * 1000}


@bp.get("/robots.txt")
def robots() -> Response:
    """What crawlers may read: everything but the API."""
    return Response("User-agent: *\nDisallow: /api/\n", content_type="text/plain; charset=utf-8")
