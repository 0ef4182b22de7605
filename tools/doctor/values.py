"""One value and where it stands; and the two ways in which a value can be out of reach."""

import re
from dataclasses import dataclass
from typing import Generic, TypeVar

T_co = TypeVar("T_co", covariant=True)
_SECRET = re.compile(r"SECRET|PASSWORD|PASSWD|TOKEN|API_?KEY|PRIVATE_KEY|CREDENTIAL")
_PASSWORD_IN_URL = re.compile(r"://[^:/@\s${]+:([^@\s$]+)@")


class CannotRead(Exception):  # noqa: N818 - it says what happened
    """A layer that is there cannot be read at all: one line that names the file and what is wrong."""


class NotKnown(Exception):  # noqa: N818 - it says what happened
    """A rule needs a value that could not be read; the text says why, for the person who reads the report."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value stands: a file (relative to the kit's folder), a container, or a program's default.

    `note` is what is written there instead of the value (the variable it comes from), or that nothing is.
    """

    place: str
    line: int | None = None
    note: str = ""

    def __str__(self) -> str:
        at = self.place if self.line is None else f"{self.place}:{self.line}"
        return f"{at} ({self.note})" if self.note else at


@dataclass(frozen=True, slots=True)
class Setting(Generic[T_co]):
    """One value: `name` as its file spells it, `value` in base units (seconds, bytes), `shown` for people."""

    name: str
    value: T_co
    shown: str
    origin: Origin
    # False for a program's default and for what a machine works out: there is no line to edit.
    editable: bool = True


def is_secret(name: str) -> bool:
    """Whether a variable of that name holds a secret itself, not the path of a file with one."""
    return name.isupper() and bool(_SECRET.search(name)) and not name.endswith("_FILE")


def holds_password(value: str) -> bool:
    """Whether a value is an address with a password in it."""
    return bool(_PASSWORD_IN_URL.search(value))


def variable(name: str, value: str, origin: Origin, *, editable: bool = True) -> Setting[str]:
    """A variable of an environment. What it hides is not shown: reports end up in logs and in tickets."""
    hidden = is_secret(name) or holds_password(value)
    return Setting(name, value, "(not shown)" if hidden and value else value or "empty", origin, editable)
