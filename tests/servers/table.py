"""Write the table server x behaviour into docs/servers.md, from what tests/servers/ holds each server to: python -m tests.servers.table."""

from itertools import chain
from pathlib import Path

from tests.servers.behaviours import BEHAVIOURS, SERVERS, YES, description, exceptions

PAGE = Path(__file__).resolve().parents[2] / "docs/servers.md"
BEGIN, END = "<!-- table: python -m tests.servers.table -->\n", "<!-- end of table -->\n"


def names() -> list[str]:
    """Return the servers that serve the site."""
    return sorted(path.parent.name for path in SERVERS.glob("*/server.toml") if description(path.parent.name).get("site", True))


def table() -> str:
    """Return the table, and why the exceptions are as they are."""
    found = {name: exceptions(name) for name in names()}
    lines = ["| | " + " | ".join(found) + " |", "|---" * (len(found) + 1) + "|"]
    for behaviour in BEHAVIOURS:
        seen = [known.get(behaviour, {"seen": YES})["seen"] for known in found.values()]
        lines.append(f"| {behaviour.replace('_', ' ')} | " + " | ".join(seen) + " |")
    whys = (
        [f"- `{name}`, {behaviour.replace('_', ' ')}: {one['why']}" for behaviour, one in known.items()] for name, known in found.items()
    )
    return "\n".join([*lines, "", *chain.from_iterable(whys), ""])


def page() -> str:
    """Return the page with the present table."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    return before + BEGIN + table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(page())
