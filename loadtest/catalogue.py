"""Candidates and workloads are data: read strictly, and every mistake is named with its file and line."""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import TypeAdapter, ValidationError

from loadtest.records import Candidate, Workload
from loadtest.store import RunError

TABLE = '{ NAME = "value" }'
HERE = Path(__file__).resolve().parent
CANDIDATES, WORKLOADS = HERE / "candidates.toml", HERE / "workloads.toml"

Entry = TypeVar("Entry", Candidate, Workload)


def load_candidates(path: Path = CANDIDATES) -> dict[str, Candidate]:
    """Return all candidates by name; raises RunError with file, line and what would be right."""
    return _load(path, "candidate", Candidate)


def load_workloads(path: Path = WORKLOADS) -> dict[str, Workload]:
    """Return all workloads by name; `users` and `background` may be written as {class = share}."""
    return _load(path, "workload", Workload)


def choose(entries: dict[str, Entry], names: Sequence[str], what: str) -> tuple[Entry, ...]:
    """Return the entries of these names, each once; raises RunError for an unknown one, with the nearest."""
    for name in names:
        if name not in entries:
            raise RunError(f"there is no {what} {name!r}", nearest(name, entries), 2)
    return tuple(entries[name] for name in dict.fromkeys(names))


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint for an unknown name."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    return f"the nearest is {near[0]!r}" if near else f"there are {', '.join(names)}"


def _load(path: Path, table: str, kind: type[Entry]) -> dict[str, Entry]:
    text = _read(path)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RunError(f"{path}: {error}", "right is TOML: name = value, text in quotes", 2) from None
    for key in data.keys() - {table}:
        raise RunError(f"{path}:{_line(text, key)}: {key!r} is unknown", f"right is [[{table}]]", 2)
    file = _File(path, text, table)
    found: dict[str, Entry] = {}
    rows = data.get(table, [])
    if not isinstance(rows, list) or not rows:
        raise RunError(f"{path}: there is no {table}", f"right is at least one [[{table}]]", 2)
    for number, row in enumerate(rows):
        entry: Entry = _entry(file, kind, row, number)
        if entry.name in found:
            raise RunError(f"{file.at('name', number)}: {entry.name!r} stands there twice", "give it another name", 2)
        found[entry.name] = entry
    return found


class _File(NamedTuple):
    path: Path
    text: str
    table: str

    def at(self, key: str, number: int) -> str:
        """Return "file:line" of a key in the table of this number."""
        return f"{self.path}:{_line(self.text, key, self.table, number)}"


def _entry(file: _File, kind: type, row: dict[str, Any], number: int) -> Any:
    for key in ("users", "background"):
        if isinstance(row.get(key), dict):
            row[key] = [("", name, share) for name, share in row[key].items()]
    try:
        entry = TypeAdapter[Any](kind).validate_python(row)
    except ValidationError as error:
        # An unknown key first: mostly it is the missing one, misspelt.
        first = min(error.errors(), key=lambda one: one["type"] != "unexpected_keyword_argument")
        key = str(first["loc"][0]) if first["loc"] else ""
        raise RunError(f"{file.at(key, number)}: {_reason(first, key)}", _right(first, key, kind), 2) from None
    problem = _beyond_types(entry)
    if problem:
        key, reason, right = problem
        raise RunError(f"{file.at(key, number)}: {reason}", f"right is {right}", 2)
    return entry


def _beyond_types(entry: Any) -> tuple[str, str, str] | None:
    """Return (key, what is wrong, what is right), or None."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,40}", entry.name):
        return "name", f"the name {entry.name!r} cannot name a file", "lower-case letters, digits, - and _"
    if isinstance(entry, Candidate):
        return ("slots", f"slots is {entry.slots}", "a number of requests, 0 for no bound") if entry.slots < 0 else None
    if not entry.slo_ms > 0:
        return "slo_ms", f"slo_ms is {entry.slo_ms:g}", "a time in milliseconds above 0"
    if not 0 < entry.max_rate_per_s < math.inf:
        return "max_rate_per_s", f"max_rate_per_s is {entry.max_rate_per_s:g}", "a number of requests per second above 0"
    if not entry.users or min(share for _, _, share in entry.users) <= 0:
        return "users", "users is empty, or has a share that is not above 0", "{ Hello = 9, Page = 1 }: scenarios and their shares"
    return None


def _reason(error: Any, key: str) -> str:
    if error["type"] == "missing":
        return f"{key} is missing"
    if error["type"] == "unexpected_keyword_argument":
        return f"{key!r} is unknown"
    return f"{key} = {error['input']!r}: {error['msg'][0].lower()}{error['msg'][1:]}"


def _right(error: Any, key: str, kind: Any) -> str:
    if error["type"] == "unexpected_keyword_argument":
        return nearest(key, kind.__dataclass_fields__)
    words = {"str": "a text in quotes", "float": "a number", "int": "a whole number", "Users": "{ Hello = 9, Page = 1 }"}
    type_name = str(kind.__dataclass_fields__[key].type)
    return f"right for {key} is {words.get(type_name, TABLE)}"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path} cannot be read: {error}", "right is a TOML file", 2) from None


def _line(text: str, key: str, table: str = "", number: int = 0) -> int:
    """Return the line of a key, within the table of this number; the table's own line when the key is not there."""
    lines = text.splitlines()
    heads = [n for n, line in enumerate(lines) if re.match(rf"\s*\[\[\s*{re.escape(table)}\s*\]\]", line)] if table else []
    first = heads[number] if number < len(heads) else 0
    last = heads[number + 1] if number + 1 < len(heads) else len(lines)
    for n in range(first, last):
        if re.match(rf'\s*\[*\s*"?{re.escape(key)}"?\s*(=|\]|\.)', lines[n]):
            return n + 1
    return first + 1
