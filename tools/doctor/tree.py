"""nginx's configuration as a tree, and what holds at a place of it after inheritance.

Only what the rules need: a directive that is set in a block replaces what stands outside of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tools.doctor.values import Origin


@dataclass(frozen=True, slots=True)
class Node:
    """One directive; `children` is empty for a simple one. The root has no name."""

    name: str
    args: tuple[str, ...]
    origin: Origin
    children: tuple[Node, ...] = ()

    def all(self, name: str) -> tuple[Node, ...]:
        """The directives of that name directly inside this block, in order."""
        return tuple(child for child in self.children if child.name == name)

    def walk(self) -> Iterator[Node]:
        """Every directive below this one, depth first."""
        for child in self.children:
            yield child
            yield from child.walk()


@dataclass(frozen=True, slots=True)
class Scope:
    """A place in the tree: the blocks that enclose it, outermost first, itself last."""

    blocks: tuple[Node, ...]

    @property
    def here(self) -> Node:
        return self.blocks[-1]

    def find(self, name: str) -> Node | None:
        """The directive that is in force here: the last one of the innermost block that has any."""
        for block in reversed(self.blocks):
            found = block.all(name)
            if found:
                return found[-1]
        return None

    def find_all(self, name: str) -> tuple[Node, ...]:
        """For directives that add up (`proxy_set_header`): all of the innermost block that has any."""
        for block in reversed(self.blocks):
            found = block.all(name)
            if found:
                return found
        return ()


def scopes(root: Node, name: str) -> Iterator[Scope]:
    """Every block of that name (`server`, `location`, `upstream`), with the blocks around it."""
    return (scope for scope in _all_blocks((root,)) if scope.here.name == name)


def behind_the_edge(scope: Scope) -> bool:
    """Whether a place is in a server that only this nginx itself can reach (every listener is a unix socket)."""
    listeners = [node.args[0] for block in scope.blocks if block.name == "server" for node in block.all("listen")]
    return bool(listeners) and all(address.startswith("unix:") for address in listeners)


def proxied(root: Node) -> tuple[Scope, ...]:
    """Every block that hands requests on (it holds a `proxy_pass`)."""
    return tuple(scope for scope in _all_blocks((root,)) if scope.here.all("proxy_pass"))


def _all_blocks(blocks: tuple[Node, ...]) -> Iterator[Scope]:
    yield Scope(blocks)
    for child in blocks[-1].children:
        if child.children:
            yield from _all_blocks((*blocks, child))
