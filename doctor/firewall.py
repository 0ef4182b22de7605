"""The web application firewall's limit, where the configuration loads one (libmodsecurity)."""

import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from doctor.facts import Missing, Waf
from doctor.tree import Node
from doctor.units import show_bytes
from doctor.values import Origin, Setting

_LIMIT = re.compile(r"\s*SecRequestBodyLimit\s+\"?(\d+)", re.IGNORECASE)
_INCLUDE = re.compile(r"\s*Include\s+\"?([^\s\"]+)", re.IGNORECASE)

Read = Callable[[str], str | None]
Locate = Callable[[Path, int], Origin]


def from_tree(tree: Node, read: Read, locate: Locate) -> Waf | Missing:
    """SecRequestBodyLimit as the rules that nginx loads set it: the last one counts.

    `read` gives the text of a file that nginx would load, None when it cannot; `locate` says where a person finds it.
    """
    found: Waf | None = None
    for node in tree.walk():
        if node.name == "modsecurity_rules":
            found = _in_lines(node.args[0].splitlines(), partial(_always, node.origin), read, locate) or found
        if node.name == "modsecurity_rules_file":
            found = _in_file(node.args[0], read, locate) or found
    return found or Missing("the configuration loads no firewall whose limit can be read")


def _always(origin: Origin, _line: int) -> Origin:
    """Rules that are written into nginx's own file: its line is near enough."""
    return origin


def _in_file(name: str, read: Read, locate: Locate) -> Waf | None:
    text = read(name)
    return None if text is None else _in_lines(text.splitlines(), partial(locate, Path(name)), read, locate)


def _in_lines(lines: Iterable[str], origin: Callable[[int], Origin], read: Read, locate: Locate) -> Waf | None:
    found: Waf | None = None
    for number, line in enumerate(lines, 1):
        if limit := _LIMIT.match(line):
            size = int(limit[1])
            found = Waf(Setting("SecRequestBodyLimit", size, show_bytes(size), origin(number)))
        elif included := _INCLUDE.match(line):
            found = _in_file(included[1], read, locate) or found
    return found


def read_file(name: str) -> str | None:
    """The text of a file of this machine, None when it cannot be read."""
    try:
        return Path(name).read_text(errors="replace")
    except OSError:
        return None
