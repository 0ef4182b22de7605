"""nginx's configuration as a tree, parsed by crossplane: as the image's scripts would write it, or as a running nginx prints it."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import crossplane

from tools.doctor.values import CannotRead, Environment, Origin
from tools.local.nginx import fill

# crossplane 0.5.8 knows nginx up to 1.23. Directives that it does not know pass; these take more arguments by now.
GREW_ARGUMENTS = frozenset({"keepalive", "resolver", "server"})
# What the scripts make of TRUSTED_PROXIES.
FROM_SETTING = {f"trusted-proxies/{name}.conf": "TRUSTED_PROXIES" for name in ("real-ip", "geo")}
FROM_SETTING |= {"trusted-proxies/names.conf": "SERVER_NAMES"}
_DUMPED_FILE = re.compile(r"^# configuration file (.+):\n", re.MULTILINE)
_VARIABLE = re.compile(r"\$\{([A-Z_]+)\}")
Locate = Callable[[Path, int], Origin]


class Node(NamedTuple):
    """One directive; `children` is empty for a simple one. The root has no name."""

    name: str
    args: tuple[str, ...]
    origin: Origin
    children: tuple[Node, ...] = ()

    def all(self, name: str) -> tuple[Node, ...]:
        """Return the directives of that name directly inside this block, in order."""
        return tuple(child for child in self.children if child.name == name)

    def walk(self) -> Iterator[Node]:
        """Yield every directive below this one, depth first."""
        for child in self.children:
            yield child
            yield from child.walk()


class Scope(NamedTuple):
    """A place in the tree: the blocks that enclose it, outermost first, itself last."""

    blocks: tuple[Node, ...]

    @property
    def here(self) -> Node:
        return self.blocks[-1]

    def find_all(self, name: str) -> tuple[Node, ...]:
        """Return what is in force here: a directive in a block replaces those outside of it."""
        return next((found for block in reversed(self.blocks) if (found := block.all(name))), ())

    def find(self, name: str) -> Node | None:
        return next(reversed(self.find_all(name)), None)


def scopes(root: Node, name: str) -> Iterator[Scope]:
    """Yield every block of that name (`server`, `location`, `upstream`), with the blocks around it."""
    return (scope for scope in all_scopes((root,)) if scope.here.name == name)


def all_scopes(blocks: tuple[Node, ...]) -> Iterator[Scope]:
    yield Scope(blocks)
    for child in blocks[-1].children:
        if child.children:
            yield from all_scopes((*blocks, child))


class Nginx(NamedTuple):
    """The whole configuration, includes resolved."""

    tree: Node
    environment: Environment

    def proxying(self) -> tuple[Scope, ...]:
        """Return the places that pass requests of clients on."""
        return tuple(scope for scope in all_scopes((self.tree,)) if scope.here.all("proxy_pass") and not scope.here.all("internal"))

    def passes_to(self, upstream: str) -> bool:
        return any(node.args[0].endswith(f"//{upstream}") for scope in self.proxying() for node in scope.here.all("proxy_pass"))


def from_files(project: Path, image: str, settings: Environment, folder: Path) -> Node:
    """Fill in the templates of the image whose folder is `image` (nginx, waf) as its own scripts do, and parse the result.

    CannotRead with the words of the script that refuses a setting, or of what nginx would not accept.
    """
    conf, run = folder / image / "conf", folder / image / "run"
    try:
        done = fill(image, folder / image, {name: setting.value for name, setting in settings.items()}, project)
    except (OSError, ValueError) as error:
        raise CannotRead(f"{image}/: {error}") from None
    if done.returncode:
        raise CannotRead(f"{image}/docker-entrypoint.d: {(done.stderr.strip() or 'it gave no reason').splitlines()[0]}")

    def locate(path: Path, line: int) -> Origin:
        if path.is_relative_to(run):
            name = str(path.relative_to(run / "conf"))
            if given := settings.get(FROM_SETTING.get(name, "")):
                return given.origin
            names = [f"templates/{name}.template"]
        else:
            names = [str(path.relative_to(conf))]
        sources = [f"{top}/{name}" for top in (image, "nginx") for name in names if (project / top / name).is_file()]
        if not sources:  # written by a script
            return Origin(f"{image}/docker-entrypoint.d", 1, "")
        text = (project / sources[0]).read_text().splitlines()
        named = _VARIABLE.search(text[line - 1]) if line <= len(text) else None
        return Origin(sources[0], line, named[1] if named else "")

    return parse(conf / "nginx.conf", locate)


def from_dump(dump: str, container: str, folder: Path) -> Node:
    """Parse what `nginx -T` printed in a container."""
    pieces = _DUMPED_FILE.split(dump)
    for name, body in zip(pieces[1::2], pieces[2::2], strict=True):
        target = folder / name.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(body)
    if len(pieces) == 1:
        raise CannotRead(f"{container}: nginx -T printed no configuration file")
    main = folder / pieces[1].lstrip("/")
    return parse(main, lambda path, line: Origin(f"{container}:/{path.relative_to(folder)}", line), folder)


def parse(main: Path, locate: Locate, root: Path = Path("/")) -> Node:
    """Parse `main` and all it includes into one tree; `root` stands for / in an unpacked dump."""
    return Node("", (), locate(main, 1), _file(main, main.parent, locate, root))


@cache  # snippets are included many times
def _file(path: Path, base: Path, locate: Locate, root: Path) -> tuple[Node, ...]:
    # With its checks crossplane drops what it complains about: a first pass finds mistakes, the second reads.
    for error in crossplane.parse(str(path), single=True, check_ctx=False)["errors"]:
        named = re.search(r'number of arguments in "(\w+)"', str(error["error"]))
        if not (named and named[1] in GREW_ARGUMENTS):
            said = re.sub(r" in \S+:\d+$", "", str(error["error"]))
            raise CannotRead(f"{locate(path, error['line'] or 1)}: nginx configuration: {said}")
    parsed = crossplane.parse(str(path), single=True, check_ctx=False, check_args=False)
    return tuple(_nodes(parsed["config"][0]["parsed"], path, base, locate, root))


def _nodes(statements: list[Mapping[str, Any]], path: Path, base: Path, locate: Locate, root: Path) -> Iterator[Node]:
    for statement in statements:
        name, args, line = statement["directive"], tuple(statement["args"]), statement["line"]
        if name != "include":
            yield Node(name, args, locate(path, line), tuple(_nodes(statement.get("block", []), path, base, locate, root)))
            continue
        # nginx takes a relative include from the folder of the main file, whichever file includes it.
        wanted = root / args[0].lstrip("/") if args[0].startswith("/") else base / args[0]
        found = sorted(glob.glob(str(wanted)))  # noqa: PTH207 - the pattern may be absolute
        if not found and not glob.has_magic(args[0]):
            raise CannotRead(f"{locate(path, line)}: nginx configuration: include {args[0]} names no file")
        for included in found:
            yield from _file(Path(included), base, locate, root)
