"""A value and where it is written; sizes and durations in one unit each; and the two ways in which a value is out of reach."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

_SECRET = re.compile(r"SECRET|PASSWORD|PASSWD|TOKEN|API_?KEY|PRIVATE_KEY|CREDENTIAL")
_PASSWORD_IN_URL = re.compile(r"://[^:/@\s${]+:([^@\s$]+)@")
_FACTORS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_SECONDS = {"ms": 1e-3, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
T = TypeVar("T")


class CannotRead(Exception):  # noqa: N818 - it says what happened
    """Nothing can be judged: one line that names the file and what is wrong."""


class NotKnown(Exception):  # noqa: N818 - it says what happened
    """A rule needs a value that could not be read; the text says why."""


class Missing(NamedTuple):
    """A layer that was not read, and why: every rule that needs it says so instead of passing."""

    reason: str


def need(layer: T | Missing) -> T:
    """Return the layer, or raise NotKnown with the reason why it was not read."""
    if isinstance(layer, Missing):
        raise NotKnown(layer.reason)
    return layer


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value is written: a file of the project, a container, or a program's default. `note`: the variable it comes from."""

    place: str
    line: int | None = None
    note: str = ""

    def __str__(self) -> str:
        at = self.place if self.line is None else f"{self.place}:{self.line}"
        return f"{at} ({self.note})" if self.note else at


@dataclass(frozen=True, slots=True)
class Setting:
    """One value: `name` as its file spells it, `value` in base units (seconds, bytes), `shown` for people."""

    name: str
    value: Any
    shown: str
    origin: Origin
    editable: bool = True  # False for a program's default: there is no line to edit


Environment = Mapping[str, Setting]


def variable(name: str, value: str, origin: Origin) -> Setting:
    """Return a variable of an environment. What it hides is not shown: reports end up in logs and in tickets."""
    secret = bool(_SECRET.search(name)) and not name.endswith("_FILE")
    hidden = secret or bool(_PASSWORD_IN_URL.search(value))
    return Setting(name, value, "(not shown)" if hidden and value else value or "empty", origin)


def setting_of(environment: Environment, name: str, default: str) -> Setting:
    found = environment.get(name)
    return found if found and found.value else Setting(name, default, default or "not set", Origin("default"), editable=False)


def size_bytes(text: str) -> int:
    """Read `8k`, `10m`, `64mb` or plain bytes."""
    match = re.fullmatch(r"(\d+)\s*([kmg]?)b?", text.strip(), re.ASCII | re.IGNORECASE)
    if match is None:
        raise CannotRead(f"{text!r} is not a size")
    return int(match[1]) * _FACTORS[match[2].lower()]


def seconds(text: str) -> float:
    """Read `35s`, `1m30s`, `500ms` or plain seconds."""
    number = r"(\d+(?:\.\d+)?)(ms|[smhd]?)"  # longest unit first: "ms" must not be read as minutes
    packed = text.replace(" ", "")
    if not re.fullmatch(rf"(?:{number})+", packed, re.ASCII):
        raise CannotRead(f"{text!r} is not a duration")
    return sum(float(count) * _SECONDS[unit] for count, unit in re.findall(number, packed))


def show_seconds(value: float) -> str:
    return f"{value:g} s"


def show_bytes(value: int) -> str:
    """10 MiB, 8 KiB, 8190 B: in the largest unit that divides it."""
    for unit, factor in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if value and value % factor == 0:
            return f"{value // factor} {unit}"
    return f"{value} B"
