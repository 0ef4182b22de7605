"""Candidates and workloads are data: read strictly, and every mistake is named with its file and entry."""

import difflib
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from loadtest.records.model import Candidate, Workload
from loadtest.records.store import RunError

HERE = Path(__file__).resolve().parent
CANDIDATES, WORKLOADS = HERE / "candidates.toml", HERE / "workloads.toml"

Entry = TypeVar("Entry", Candidate, Workload)


def load_candidates(path: Path = CANDIDATES) -> dict[str, Candidate]:
    """Return all candidates by name; raises RunError with file, entry and what would be right."""
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
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {error}", "right is a TOML file: name = value, text in quotes", 2) from None
    rows = data.pop(table, [])
    if data or not isinstance(rows, list) or not rows:
        raise RunError(f"{path}: {', '.join(data) or 'nothing'} instead of [[{table}]]", f"right is at least one [[{table}]]", 2)
    found: dict[str, Entry] = {}
    for number, row in enumerate(rows, 1):
        entry: Entry = _entry(f"{path}: {table} {number} ({row.get('name', 'without a name')})", kind, row)
        if entry.name in found:
            raise RunError(f"{path}: {entry.name!r} stands there twice", "give it another name", 2)
        found[entry.name] = entry
    return found


def _entry(where: str, kind: Any, row: dict[str, Any]) -> Any:
    try:
        return TypeAdapter[Any](kind).validate_python(row)
    except ValidationError as error:
        # An unknown key first: mostly it is the missing one, misspelt.
        first = min(error.errors(), key=lambda one: one["type"] != "unexpected_keyword_argument")
    key = ".".join(map(str, first["loc"]))
    if first["type"] == "unexpected_keyword_argument":
        raise RunError(f"{where}: {key!r} is unknown", nearest(key, kind.__dataclass_fields__), 2)
    given = "" if first["type"] == "missing" else f" = {first['input']!r}"
    raise RunError(f"{where}: {key}{given}", first["msg"], 2)
