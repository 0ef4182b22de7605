"""What goes in and out of the API and the form. The models validate it, and the OpenAPI document is made of them."""

from datetime import datetime
from typing import Annotated, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails
from werkzeug.exceptions import UnprocessableEntity

from kit_app.models import Entry

NAME_LENGTH = 80
MESSAGE_LENGTH = 2000
# Largest id that the column can hold, and its digits in a cursor: opaque for clients, so that what is inside can change.
MAX_ID = 2**63 - 1
CURSOR_PATTERN = "^[0-7][0-9a-f]{15}$"
# Something to read, and no control characters: PostgreSQL cannot store NUL, and no reader should meet any other.
_ONE_LINE = r"^[^\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f][^\u0000-\u001f\u007f-\u009f]*$"
_LINES = _ONE_LINE.replace(r"\u0000-\u001f", r"\u0000-\u0008\u000b\u000c\u000e-\u001f")

_Model = TypeVar("_Model", bound=BaseModel)
# For the form's visitors; pydantic's own words are for programmers.
_MESSAGES = {
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must not be blank or contain control characters",
}


class NewEntry(BaseModel):
    """What a visitor sends. Text is kept exactly as it was sent."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[str, Field(min_length=1, max_length=NAME_LENGTH, pattern=_ONE_LINE)]
    message: Annotated[str, Field(min_length=1, max_length=MESSAGE_LENGTH, pattern=_LINES)]


class StoredEntry(BaseModel):
    """An entry as it is shown."""

    id: int
    name: str
    message: str
    created_at: datetime

    @classmethod
    def of(cls, entry: Entry) -> Self:
        """Show `entry`."""
        return cls.model_validate(entry, from_attributes=True)


class EntryList(BaseModel):
    """Some entries, newest first; `next` is the address of those that follow, null at the end."""

    entries: list[StoredEntry]
    next: str | None


class ListQuery(BaseModel):
    """Which entries to list. An unknown parameter is refused: a misspelt one would be ignored in silence."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=100)] = 20
    cursor: Annotated[str, Field(pattern=CURSOR_PATTERN)] | None = None


class FieldError(BaseModel):
    """What is wrong with one field."""

    field: str
    detail: str


class Problem(BaseModel):
    """An error, after RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    request_id: str
    errors: list[FieldError] | None = None


class InvalidInputError(UnprocessableEntity):
    """422: the input was understood, and some of its fields are wrong."""

    description = "Some fields are not valid."

    def __init__(self, errors: list[FieldError]) -> None:
        super().__init__()
        self.errors = errors


def validate(model: type[_Model], data: object) -> _Model:
    """Make a `model` of `data`; raises InvalidInputError, which names every wrong field."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise InvalidInputError([_field_error(found, model) for found in error.errors()]) from None


def _field_error(error: ErrorDetails, model: type[BaseModel]) -> FieldError:
    words = _MESSAGES.get(error["type"]) if model is NewEntry else None
    return FieldError(field=".".join(map(str, error["loc"])), detail=words.format(**error["ctx"]) if words else error["msg"])
