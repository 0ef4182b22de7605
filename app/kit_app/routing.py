"""Ids in URLs."""

from flask import Flask
from werkzeug.routing import BaseConverter, ValidationError

from kit_app.cursor import MAX_ID


class _EntryId(BaseConverter):
    """An id that an entry can have. Any other is a 404, where the database could not even be asked for it."""

    regex = r"[0-9]{1,19}"

    def to_python(self, value: str) -> int:
        if (entry_id := int(value)) > MAX_ID:
            raise ValidationError
        return entry_id


def init_app(app: Flask) -> None:
    """Let the routes of `app` say <entry_id:name>."""
    app.url_map.converters["entry_id"] = _EntryId
