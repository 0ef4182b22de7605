"""Validate input with pydantic, and name the fields that are wrong."""

import unicodedata
from typing import TypedDict, TypeVar

from pydantic import BaseModel, ValidationError
from werkzeug.exceptions import UnprocessableEntity

_Model = TypeVar("_Model", bound=BaseModel)


class FieldError(TypedDict):
    """What is wrong with one field."""

    field: str
    detail: str


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
        raise InvalidInputError([_field_error(item["loc"], item["msg"]) for item in error.errors()]) from None


def _field_error(location: tuple[int | str, ...], message: str) -> FieldError:
    field = ".".join(str(part) for part in location)
    return {"field": field, "detail": message.removeprefix("Value error, ")}


def without_control_characters(text: str, allowed: str = "") -> str:
    """Return `text` as it is, or raise ValueError that names its first control character.

    PostgreSQL cannot store NUL, and no other control character is something a reader should meet either.
    """
    for character in text:
        if unicodedata.category(character) == "Cc" and character not in allowed:
            raise ValueError(f"must not contain control characters (found U+{ord(character):04X})")
    return text
