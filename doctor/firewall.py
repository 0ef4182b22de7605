"""The web application firewall's limit, where the configuration loads one (libmodsecurity)."""

import re
from pathlib import Path

from doctor.facts import Missing, Waf
from doctor.tree import Node
from doctor.units import show_bytes
from doctor.values import Origin, Setting

_LIMIT = re.compile(r"^\s*SecRequestBodyLimit\s+(\d+)", re.MULTILINE | re.IGNORECASE)


def from_tree(tree: Node) -> Waf | Missing:
    """SecRequestBodyLimit as the rules that nginx loads set it; the last one that can be read here counts."""
    for node in reversed(list(tree.walk())):
        if node.name == "modsecurity_rules" and (found := _LIMIT.search(node.args[0])):
            return _waf(int(found[1]), node.origin)
        if node.name == "modsecurity_rules_file" and (path := Path(node.args[0])).is_file():
            text = path.read_text(errors="replace")
            if found := _LIMIT.search(text):
                return _waf(int(found[1]), Origin(str(path), text[: found.start(1)].count("\n") + 1))
    return Missing("the configuration loads no firewall whose limit can be read here")


def _waf(limit: int, origin: Origin) -> Waf:
    return Waf(Setting("SecRequestBodyLimit", limit, show_bytes(limit), origin))
