"""The API's description. Schemas come from the models that validate; here stands which answer has which of them."""

from functools import cache
from http import HTTPStatus
from typing import Any

from pydantic.json_schema import models_json_schema

from kit_app.cursor import MAX_ID
from kit_app.schemas import EntryList, ListQuery, NewEntry, Problem, StoredEntry

KEY_PATTERN = r"[A-Za-z0-9._:-]{8,128}"

_Json = dict[str, Any]
_MODELS = (NewEntry, StoredEntry, EntryList, Problem)
_TEXT: _Json = {"type": "string"}


@cache
def document() -> _Json:
    """Return the OpenAPI document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Guestbook",
            "version": "1",
            "description": "Errors are problem+json (RFC 9457); invalid input names its fields in `errors`.",
        },
        "paths": {
            "/api/entries": {"get": _list_entries(), "post": _create_entry()},
            "/api/entries/{entry_id}": {"get": _get_entry()},
        },
        "components": {"schemas": _schemas()},
    }


def _schemas() -> _Json:
    # What is validated on its way in, or serialised on its way out, has the same shape in all four.
    _, schemas = models_json_schema([(model, "validation") for model in _MODELS], ref_template="#/components/schemas/{model}")
    return dict(schemas["$defs"])


def _list_entries() -> _Json:
    query = ListQuery.model_json_schema()["properties"]
    return {
        "operationId": "listEntries",
        "summary": "List entries, newest first",
        "parameters": [{"name": name, "in": "query", "schema": schema} for name, schema in query.items()],
        "responses": {"200": _answer("Some entries", "EntryList"), **_problems(422)},
    }


def _get_entry() -> _Json:
    entry_id = {"type": "integer", "minimum": 1, "maximum": MAX_ID}
    return {
        "operationId": "getEntry",
        "summary": "Get one entry",
        "parameters": [{"name": "entry_id", "in": "path", "required": True, "schema": entry_id}],
        "responses": {"200": _answer("The entry", "StoredEntry"), **_problems(404)},
    }


def _create_entry() -> _Json:
    key = {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "Sent again with the same entry it gets the same answer and makes no second one; with another, 422.",
        "schema": {"type": "string", "pattern": f"^{KEY_PATTERN}$"},
    }
    created = _answer("The entry was stored", "StoredEntry") | {
        "headers": {
            "Location": {"description": "Address of the entry", "required": True, "schema": _TEXT},
            "Idempotency-Replayed": {"description": "An earlier request stored it", "schema": {"const": "true"}},
        },
        "links": {"getEntry": {"operationId": "getEntry", "parameters": {"entry_id": "$response.body#/id"}}},
    }
    return {
        "operationId": "createEntry",
        "summary": "Sign the guestbook",
        "parameters": [key],
        "requestBody": {"required": True, "content": {"application/json": {"schema": _ref("NewEntry")}}},
        "responses": {"201": created, **_problems(400, 413, 415, 422)},
    }


def _problems(*statuses: int) -> _Json:
    """Return the errors of an operation; 503 can always happen, as each needs the database."""
    return {str(status): _problem(status) for status in (*statuses, HTTPStatus.SERVICE_UNAVAILABLE.value)}


def _problem(status: int) -> _Json:
    return {"description": HTTPStatus(status).phrase, "content": {"application/problem+json": {"schema": _ref("Problem")}}}


def _answer(description: str, schema: str) -> _Json:
    return {"description": description, "content": {"application/json": {"schema": _ref(schema)}}}


def _ref(schema: str) -> _Json:
    return {"$ref": f"#/components/schemas/{schema}"}
