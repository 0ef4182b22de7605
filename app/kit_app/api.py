"""The JSON API."""

import re

from flask import Blueprint, Response, abort, request, url_for
from pydantic_core import from_json

from kit_app import entries, openapi
from kit_app.models import Entry
from kit_app.schemas import EntryList, ListQuery, NewEntry, StoredEntry, validate
from kit_app.security import csrf

bp = Blueprint("api", __name__, url_prefix="/api")
# A form of another site cannot send JSON, and no cookie gives this API any right.
csrf.exempt(bp)


@bp.get("/entries")
def list_entries() -> Response:
    """Some entries, newest first."""
    query = validate(ListQuery, request.args.to_dict())
    page = entries.latest(query.limit, query.cursor)
    following = page.older and url_for(".list_entries", limit=query.limit, cursor=page.older)
    return _json(EntryList(entries=[StoredEntry.of(entry) for entry in page.entries], next=following).model_dump_json())


@bp.get("/entries/<entry_id:entry_id>")
def get_entry(entry_id: int) -> Response:
    """One entry."""
    return _json(_show(entries.find(entry_id) or abort(404, "There is no such entry.")))


@bp.post("/entries")
def create_entry() -> Response:
    """Store an entry, once for each Idempotency-Key."""
    key = request.headers.get("Idempotency-Key")
    if key is not None and not re.fullmatch(openapi.KEY_PATTERN, key):
        abort(400, "Idempotency-Key must be 8 to 128 letters, digits, or any of . _ : -")
    new = validate(NewEntry, _sent_json())
    try:
        answer = entries.sign(new, _show, key)
    except entries.KeyReusedError:
        abort(422, "This Idempotency-Key was used for another entry.")
    response = _json(answer.body)
    response.status_code, response.location = 201, url_for(".get_entry", entry_id=answer.entry_id)
    if answer.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return response


@bp.get("/openapi.json")
def describe() -> dict[str, object]:
    """This API as an OpenAPI document."""
    return openapi.document()


def _sent_json() -> object:
    if not request.is_json:
        abort(415, "Send JSON, with Content-Type: application/json.")
    try:
        return from_json(request.get_data(), allow_inf_nan=False)
    except ValueError as error:
        abort(400, f"The body is not JSON: {error}.")


def _show(entry: Entry) -> str:
    return StoredEntry.of(entry).model_dump_json()


def _json(body: str) -> Response:
    return Response(body, content_type="application/json")
