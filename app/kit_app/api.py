"""The JSON API."""

import re
from typing import Annotated

from flask import Blueprint, Response, abort, request, url_for
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import from_json

from kit_app import entries, openapi
from kit_app.entries import NewEntry, StoredEntry
from kit_app.models import Entry
from kit_app.security import csrf
from kit_app.validation import validate

bp = Blueprint("api", __name__, url_prefix="/api")
# A form of another site cannot send JSON, and no cookie gives this API any right.
csrf.exempt(bp)

_KEY = re.compile(openapi.KEY_PATTERN)


def _known_cursor(cursor: str) -> str:
    entries.decode_cursor(cursor)
    return cursor


class ListQuery(BaseModel):
    """What the list may be asked."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=100)] = 20
    cursor: Annotated[str, AfterValidator(_known_cursor)] | None = None


class EntryList(BaseModel):
    """Some entries, newest first; `next` is the address of those that follow, null at the end."""

    entries: list[StoredEntry]
    next: str | None


@bp.get("/entries")
def list_entries() -> Response:
    """Some entries, newest first."""
    query = validate(ListQuery, request.args.to_dict())
    page = entries.latest(query.limit, entries.decode_cursor(query.cursor) if query.cursor else None)
    following = page.next_cursor and url_for(".list_entries", limit=query.limit, cursor=page.next_cursor)
    shown = [StoredEntry.model_validate(entry) for entry in page.entries]
    return _json(EntryList(entries=shown, next=following).model_dump_json())


@bp.get("/entries/<entry_id:entry_id>")
def get_entry(entry_id: int) -> Response:
    """One entry."""
    return _json(_body(entries.find(entry_id) or abort(404, "There is no such entry.")))


@bp.post("/entries")
def create_entry() -> Response:
    """Store an entry, once for each Idempotency-Key."""
    new = validate(NewEntry, _sent_json())
    key = request.headers.get("Idempotency-Key")
    if key is None:
        entry = entries.sign(new)
        return _created(_body(entry), entry.id)
    if not _KEY.fullmatch(key):
        abort(400, "Idempotency-Key must be 8 to 128 letters, digits, or any of . _ : -")
    try:
        answer = entries.sign_once(key.strip('"'), new, _body)
    except entries.KeyReusedError:
        abort(422, "This Idempotency-Key was used for another entry.")
    response = _created(answer.body, answer.entry_id)
    if answer.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return response


@bp.get("/openapi.json")
def describe() -> dict[str, object]:
    """This API as an OpenAPI document."""
    return openapi.document(ListQuery, EntryList)


def _sent_json() -> object:
    if not request.is_json:
        abort(415, "Send JSON, with Content-Type: application/json.")
    try:
        return from_json(request.get_data())
    except ValueError as error:
        abort(400, f"The body is not JSON: {error}.")


def _body(entry: Entry) -> str:
    return StoredEntry.model_validate(entry).model_dump_json()


def _json(body: str) -> Response:
    return Response(body, content_type="application/json")


def _created(body: str, entry_id: int) -> Response:
    response = _json(body)
    response.status_code = 201
    response.headers["Location"] = url_for(".get_entry", entry_id=entry_id)
    return response
