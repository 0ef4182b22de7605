"""Validate input with pydantic, and name the fields that are wrong."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError
from werkzeug.exceptions import UnprocessableEntity

from kit_app.schemas import FieldError

_Model = TypeVar("_Model", bound=BaseModel)


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
    return FieldError(field=field, detail=message.removeprefix("Value error, "))
