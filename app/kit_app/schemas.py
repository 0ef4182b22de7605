"""What goes in and out of the API. The models validate it, and the OpenAPI document is made of them."""

import unicodedata
from datetime import datetime
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from kit_app.cursor import PATTERN
from kit_app.models import Entry

NAME_LENGTH = 80
MESSAGE_LENGTH = 2000
_LINE_BREAKS = "\t\n\r"


def _without_control_characters(text: str, allowed: str = "") -> str:
    """Return `text` as it is. PostgreSQL cannot store NUL, and no reader should meet any other control character."""
    for character in text:
        if unicodedata.category(character) == "Cc" and character not in allowed:
            raise ValueError(f"must not contain control characters (found U+{ord(character):04X})")
    return text


def _visible(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text


def _text_pattern(control: str) -> dict[str, str]:
    """Say the two rules above in the language of JSON Schema."""
    return {"pattern": rf"^[^{control}]*[^\s{control}][^{control}]*$"}


class NewEntry(BaseModel):
    """What a visitor sends. Text is kept exactly as it was sent."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[
        str,
        Field(min_length=1, max_length=NAME_LENGTH, json_schema_extra=_text_pattern(r"\u0000-\u001f\u007f-\u009f")),
        AfterValidator(_without_control_characters),
        AfterValidator(_visible),
    ]
    message: Annotated[
        str,
        Field(
            min_length=1,
            max_length=MESSAGE_LENGTH,
            json_schema_extra=_text_pattern(r"\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f"),
        ),
        AfterValidator(lambda text: _without_control_characters(text, allowed=_LINE_BREAKS)),
        AfterValidator(_visible),
    ]


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
    cursor: Annotated[str, Field(pattern=PATTERN)] | None = None


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
