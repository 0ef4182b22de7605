"""The API's description. Schemas come from the models that validate; which answer has which of them is said here.

By hand: spectree and flask-openapi validate too, and answer 422 to a body that is no JSON, and 500 to one that is nested too deeply.
"""

from functools import cache
from http import HTTPStatus
from typing import Any

from pydantic.json_schema import models_json_schema

from kit_app.schemas import MAX_ID, EntryList, ListQuery, NewEntry, Problem, StoredEntry

KEY_PATTERN = r"[A-Za-z0-9._:-]{8,128}"

_Json = dict[str, Any]
# Any operation may be answered so, mostly by nginx and its firewall: 421 for a host that is not ours, 429 for too many requests.
_ALWAYS = (403, 405, 421, 429, 503)


@cache
def document() -> _Json:
    """Return the OpenAPI document."""
    entry_id = {"name": "entry_id", "in": "path", "required": True, "schema": {"type": "integer", "minimum": 1, "maximum": MAX_ID}}
    query = ListQuery.model_json_schema()["properties"].items()
    key = {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "Sent again with the same entry it gets the same answer and makes no second one; with another, 422.",
        "schema": {"type": "string", "pattern": f"^{KEY_PATTERN}$"},
    }
    created = _answer("The entry was stored", "StoredEntry") | {
        "headers": {
            "Location": {"description": "Address of the entry", "required": True, "schema": {"type": "string"}},
            "Idempotency-Replayed": {"description": "An earlier request stored it", "schema": {"const": "true"}},
        },
        "links": {"getEntry": {"operationId": "getEntry", "parameters": {"entry_id": "$response.body#/id"}}},
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Guestbook",
            "version": "1",
            "description": "Errors are problem+json (RFC 9457); invalid input names its fields in `errors`.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [],
        "paths": {
            "/api/entries": {
                "get": {
                    "operationId": "listEntries",
                    "summary": "List entries, newest first",
                    "parameters": [{"name": name, "in": "query", "schema": schema} for name, schema in query],
                    "responses": {"200": _answer("Some entries", "EntryList"), **_problems(422)},
                },
                "post": {
                    "operationId": "createEntry",
                    "summary": "Sign the guestbook",
                    "parameters": [key],
                    "requestBody": {"required": True, "content": _content("application/json", "NewEntry")},
                    "responses": {"201": created, **_problems(400, 413, 415, 422)},
                },
            },
            "/api/entries/{entry_id}": {
                "get": {
                    "operationId": "getEntry",
                    "summary": "Get one entry",
                    "parameters": [entry_id],
                    "responses": {"200": _answer("The entry", "StoredEntry"), **_problems(404)},
                }
            },
        },
        "components": {"schemas": _schemas()},
    }


def _schemas() -> _Json:
    # What is validated on its way in, or serialised on its way out, has the same shape in all four.
    models = [(model, "validation") for model in (NewEntry, StoredEntry, EntryList, Problem)]
    _, schemas = models_json_schema(models, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    return dict(schemas["$defs"])


def _problems(*statuses: int) -> _Json:
    return {
        str(status): {"description": HTTPStatus(status).phrase, "content": _content("application/problem+json", "Problem")}
        for status in sorted({*statuses, *_ALWAYS})
    }


def _answer(description: str, schema: str) -> _Json:
    return {"description": description, "content": _content("application/json", schema)}


def _content(media_type: str, schema: str) -> _Json:
    return {media_type: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
