"""The web application firewall's limits, where the configuration loads one (libmodsecurity)."""

import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from tools.doctor.facts import Missing, Waf
from tools.doctor.tree import Node
from tools.doctor.units import show_bytes
from tools.doctor.values import Origin, Setting

BODY, NO_FILES, ARGUMENTS = "SecRequestBodyLimit", "SecRequestBodyNoFilesLimit", "SecArgumentsLimit"
# The map that sends forms with large files past the rules for bodies (nginx/conf.d/55-waf.conf).
UPLOADS_APART = "$kit_large_upload"
_LIMIT = re.compile(rf"\s*({BODY}|{NO_FILES}|{ARGUMENTS})\s+\"?(\d+)", re.IGNORECASE)
_INCLUDE = re.compile(r"\s*Include\s+\"?([^\s\"]+)", re.IGNORECASE)

Read = Callable[[str], str | None]
Locate = Callable[[Path, int], Origin]
Limits = dict[str, Setting[int]]


def from_tree(tree: Node, read: Read, locate: Locate) -> Waf | Missing:
    """The limits as the rules that nginx loads set them: the last one of each counts.

    `read` gives the text of a file that nginx would load, None when it cannot; `locate` says where a person finds it.
    """
    found: Limits = {}
    apart = False
    for node in tree.walk():
        if node.name == "modsecurity_rules":
            found |= _in_lines(node.args[0].splitlines(), partial(_always, node.origin), read, locate)
        if node.name == "modsecurity_rules_file":
            found |= _in_file(node.args[0], read, locate)
        apart = apart or (node.name == "map" and node.args[-1] == UPLOADS_APART)
    if BODY not in found:
        return Missing("the configuration loads no firewall whose limit can be read")
    return Waf(found[BODY], found.get(NO_FILES), found.get(ARGUMENTS), uploads_apart=apart)


def _always(origin: Origin, _line: int) -> Origin:
    """Rules that are written into nginx's own file: its line is near enough."""
    return origin


def _in_file(name: str, read: Read, locate: Locate) -> Limits:
    text = read(name)
    return {} if text is None else _in_lines(text.splitlines(), partial(locate, Path(name)), read, locate)


def _in_lines(lines: Iterable[str], origin: Callable[[int], Origin], read: Read, locate: Locate) -> Limits:
    found: Limits = {}
    for number, line in enumerate(lines, 1):
        if limit := _LIMIT.match(line):
            name = next(known for known in (BODY, NO_FILES, ARGUMENTS) if known.lower() == limit[1].lower())
            size = int(limit[2])
            found[name] = Setting(name, size, str(size) if name == ARGUMENTS else show_bytes(size), origin(number))
        elif included := _INCLUDE.match(line):
            found |= _in_file(included[1], read, locate)
    return found


def read_file(name: str) -> str | None:
    """The text of a file of this machine, None when it cannot be read."""
    try:
        return Path(name).read_text(errors="replace")
    except OSError:
        return None
