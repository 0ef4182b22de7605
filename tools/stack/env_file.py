""".env, with the values that Docker Compose reads in it. A line that it would read otherwise is refused by name."""

import os
import re
from pathlib import Path
from typing import NamedTuple

from dotenv.parser import Binding, parse_stream

RIGHT = "right is NAME=value, or NAME='value' when $, # or \\ is in it; ${OTHER} and ${OTHER:-default} stay without quotes"
# The references that are replaced; those of the environment go before those of the file.
_REFERENCE = re.compile(r"\$\{(\w+)(?::-([^{}$]*))?\}")


class Value(NamedTuple):
    """A value, and the line on which it begins."""

    text: str
    line: int


def read(file: Path) -> dict[str, Value]:
    """Return what the file sets, nothing when there is none; ValueError, with what would be right, for a line of another form."""
    values: dict[str, Value] = {}
    if not file.is_file():
        return values
    with file.open(encoding="utf-8-sig") as stream:
        for binding in parse_stream(stream):
            written = binding.original.string
            line = binding.original.line + len(written) - len(written.lstrip("\n"))
            if binding.error or _differs(binding):
                name = re.match(r"\s*(?:export\s+)?(\w+)", written)
                raise ValueError(f"{file.name}, line {line}: Docker Compose would read {name[1] if name else 'this'} otherwise; {RIGHT}")
            if binding.key and binding.value is not None:
                known = {**{name: value.text for name, value in values.items()}, **os.environ}
                filled = _REFERENCE.sub(lambda found, known=known: known.get(found[1]) or found[2] or "", binding.value)  # type: ignore[misc]
                values[binding.key] = Value(binding.value if _literal(binding) else filled, line)
    return values


def _literal(binding: Binding) -> bool:
    return binding.original.string.partition("=")[2].lstrip().startswith("'")


def _differs(binding: Binding) -> bool:
    """Say whether Compose reads a value otherwise than python-dotenv, which leaves $NAME as it is and begins other comments."""
    written = binding.original.string.partition("=")[2]
    if _literal(binding):
        return "\\\\" in written
    if re.search(r"\$[\w${]|\\\$", _REFERENCE.sub("", written)):
        return True
    return not written.lstrip().startswith('"') and bool(re.search(r"^\s+#|\t#", written))
