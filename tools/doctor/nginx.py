"""nginx's configuration: rendered from the kit's files or dumped by a running nginx, parsed by crossplane."""

import csv
import difflib
import glob
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import crossplane

from tools.doctor.facts import TempFiles
from tools.doctor.tree import Node
from tools.doctor.units import show_bytes
from tools.doctor.values import CannotRead, Origin, Setting
from tools.local import nginx as gateway

# crossplane 0.5.8 knows nginx up to 1.23. Directives it does not know pass; these it knows with fewer arguments
# than nginx takes now (`keepalive 32 local`), so its word on their count is not taken.
GREW_ARGUMENTS = frozenset({"keepalive", "resolver", "server", "proxy_bind", "sticky"})
# What `render` writes beside the configuration.
TEMP_FILES = "temp-files.tsv"
_DUMPED_FILE = re.compile(r"^# configuration file (.+):$", re.MULTILINE)
_VARIABLE = re.compile(r"\$\{([A-Z_]+)\}")

Locate = Callable[[Path, int], Origin]


def render(folder: Path, destination: Path, environment: Mapping[str, str]) -> None:
    """Let the image's own entrypoint fill the templates in; CannotRead with its words when it refuses a setting."""
    answer = gateway.fill([gateway.Part(folder, gateway.GATEWAY[0].names)], destination.parent, environment)
    if answer.returncode:
        raise CannotRead(f"nginx: {(answer.stderr.splitlines() or ['it gave no reason'])[0]}")


def read_tree(main: Path, *, root: Path = Path("/"), locate: Locate) -> Node:
    """Parse `main` and all it includes into one tree.

    `root` stands for / when an absolute include is looked up (a dump is unpacked into a folder); `locate` says
    which file and line a person would edit. CannotRead names file and line of the first thing nginx would refuse.
    """
    reader = _Reader(main.parent, root, locate)
    return Node("", (), locate(main, 1), reader.file(main))


class _Reader:
    def __init__(self, base: Path, root: Path, locate: Locate) -> None:
        self._base, self._root, self._locate = base, root, locate
        # Snippets are included many times.
        self._read: dict[Path, tuple[Node, ...]] = {}

    def file(self, path: Path) -> tuple[Node, ...]:
        if path not in self._read:
            self._refuse_mistakes(path)
            parsed = crossplane.parse(str(path), single=True, check_ctx=False, check_args=False)
            self._read[path] = self._nodes(parsed["config"][0]["parsed"], path)
        return self._read[path]

    def _refuse_mistakes(self, path: Path) -> None:
        """Ask crossplane to check: it then drops what it complains about, so this pass only serves to find mistakes."""
        checked = crossplane.parse(str(path), single=True, check_ctx=False, check_args=True)
        for error in checked["errors"]:
            text = str(error["error"])
            named = re.search(r'"(\w+)" directive', text)
            if named and named[1] in GREW_ARGUMENTS and "number of arguments" in text:
                continue
            said = re.sub(r" in \S+:\d+$", "", text)
            raise CannotRead(f"{self._locate(path, error['line'] or 1)}: nginx configuration: {said}")

    def _nodes(self, statements: Iterable[Mapping[str, Any]], path: Path) -> tuple[Node, ...]:
        nodes: list[Node] = []
        for statement in statements:
            if statement["directive"] == "include":
                nodes.extend(self._included(statement["args"][0], path, statement["line"]))
            else:
                nodes.append(self._node(statement, path))
        return tuple(nodes)

    def _node(self, statement: Mapping[str, Any], path: Path) -> Node:
        children = self._nodes(statement.get("block", ()), path)
        return Node(statement["directive"], tuple(statement["args"]), self._locate(path, statement["line"]), children)

    def _included(self, pattern: str, path: Path, line: int) -> Iterable[Node]:
        # nginx takes a relative include from the folder of the main file, whichever file includes it.
        absolute = self._root / pattern.lstrip("/") if pattern.startswith("/") else self._base / pattern
        found = sorted(glob.glob(str(absolute)))  # noqa: PTH207 - the pattern may be absolute
        outside_the_kit = not absolute.is_relative_to(self._base)
        if not found and not glob.has_magic(pattern) and not outside_the_kit:
            raise CannotRead(f"{self._locate(path, line)}: nginx configuration: include {pattern} names no file")
        for name in found:
            yield from self.file(Path(name))


def unpack_dump(dump: str, folder: Path) -> Path:
    """Write what `nginx -T` printed as files below `folder`; the path of the main file there."""
    pieces = _DUMPED_FILE.split(dump)
    names, bodies = pieces[1::2], pieces[2::2]
    if not names:
        raise CannotRead("nginx -T printed no configuration file")
    for name, body in zip(names, bodies, strict=True):
        target = folder / name.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        # The marker's own newline goes, so that line numbers are those of the file inside.
        target.write_text(body.removeprefix("\n"))
    return folder / names[0].lstrip("/")


def locate_dumped(folder: Path, show: Callable[[Path], str]) -> Locate:
    """Name the lines of an unpacked dump; `show` names a file by its path where the dump came from."""
    return lambda path, line: Origin(show(Path("/") / path.relative_to(folder)), line)


def locate_source(rendered: Path, sources: Path, settings: Collection[str]) -> Locate:
    """Name the lines of a rendered configuration as lines of the file in the kit that they came from.

    A variable is named when it is one of `settings`, which a user gives; `render` works the others out.
    """

    @cache
    def lines_of(path: Path) -> tuple[str, tuple[Origin, ...]]:
        relative = path.relative_to(rendered)
        for source in (sources / f"{relative}.template", sources / relative):
            if source.is_file():
                place = f"{sources.name}/{source.relative_to(sources)}"
                return place, tuple(_origins(place, source, path, settings))
        return str(relative), ()

    def locate(path: Path, line: int) -> Origin:
        if not path.is_relative_to(rendered):
            return Origin(str(path), line)
        place, origins = lines_of(path)
        return origins[line - 1] if line <= len(origins) else Origin(place, line)

    return locate


def _origins(place: str, source: Path, rendered: Path, settings: Collection[str]) -> Iterable[Origin]:
    """For each rendered line: the same line of the template, or the one whose variable it came from."""
    template, lines = source.read_text().splitlines(), rendered.read_text().splitlines()
    matcher = difflib.SequenceMatcher(None, template, lines, autojunk=False)
    for kind, start, end, first, last in matcher.get_opcodes():
        for line in range(first, last):
            # A replaced block: line by line while there are lines, the rest came from the last variable in it.
            at = start + line - first if kind == "equal" else min(start + line - first, max(start, end - 1))
            variable = _VARIABLE.search(template[at]) if at < len(template) else None
            yield Origin(place, at + 1, _note(variable[1], settings) if variable and kind != "equal" else "")


def _note(variable: str, settings: Collection[str]) -> str:
    return variable if variable in settings else "by nginx/render"


def read_temp_files(table: str, place: str, prefix: tuple[str, str] = ("", "")) -> tuple[TempFiles, ...]:
    """What `render` says about temp files. `prefix`: where it wrote them, and where the gateway will."""
    found = []
    for row in csv.DictReader(table.splitlines(), delimiter="\t"):
        folder = row["folder"]
        if prefix[0] and folder.startswith(prefix[0]):
            folder = prefix[1] + folder.removeprefix(prefix[0])
        each = int(row["bytes_each"])
        setting = Setting(f"one temp file in {folder}", each, show_bytes(each), Origin(place), editable=False)
        found.append(TempFiles(folder, setting, int(row["at_once"])))
    return tuple(found)
