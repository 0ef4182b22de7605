"""Runs on disk: `<folder>/manifest.json` and `<folder>/cells/*.json`, each file written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from loadtest.records.model import FORMAT, Cell, Manifest

MANIFEST, CELLS = "manifest.json", "cells"
_MANIFEST: TypeAdapter[Manifest] = TypeAdapter(Manifest)
_CELL: TypeAdapter[Cell] = TypeAdapter(Cell)


class RunError(Exception):
    """A run folder, or an input of a run, that cannot be used: `message` says what is wrong, `hint` what would be right."""

    def __init__(self, message: str, hint: str = "", exit_code: int = 1) -> None:
        super().__init__(message)
        self.message, self.hint, self.exit_code = message, hint, exit_code


class Store:
    """The files of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def create(cls, folder: Path, manifest: Manifest) -> Store:
        """Begin a run; raises RunError when the folder holds something already."""
        require_empty(folder)
        (folder / CELLS).mkdir(parents=True)
        write_whole(folder / MANIFEST, _MANIFEST.dump_json(manifest, indent=1))
        return cls(folder)

    def manifest(self) -> Manifest:
        """Read what was decided before the run."""
        path = self.folder / MANIFEST
        if not self.folder.is_dir():
            raise RunError(f"there is no run {self.folder}", "`make loadtest` makes one; loadtest/results holds them", 2)
        if not path.is_file():
            what = "is empty" if not any(self.folder.iterdir()) else "is not a run of this load test: it has no manifest.json"
            raise RunError(f"{self.folder} {what}", "right is a folder under loadtest/results", 2)
        manifest: Manifest = _read(path, _MANIFEST)
        return manifest

    def save(self, cell: Cell) -> Path:
        """Write a cell; another attempt at the same cell gets a file of its own."""
        path = self.folder / CELLS / f"{name_of(cell)}.json"
        write_whole(path, _CELL.dump_json(cell))
        return path

    def cells(self) -> list[Cell]:
        """Read all cells, in the order of their names."""
        left = sorted((self.folder / CELLS).glob(".*.partial"))
        if left:
            raise RunError(f"{left[0]} was never finished", f"delete it, then go on: make loadtest RESUME={self.folder}")
        cells: list[Cell] = []
        for path in sorted((self.folder / CELLS).glob("*.json")):
            cell: Cell = _read(path, _CELL)
            if path.stem != name_of(cell):
                raise RunError(f"{path} holds {name_of(cell)}", "right is a file whose name and content agree")
            cells.append(cell)
        return cells

    def write(self, name: str, text: str) -> Path:
        """Write a file of the report beside the records."""
        write_whole(self.folder / name, text.encode())
        return self.folder / name


def require_empty(folder: Path) -> None:
    """Raise RunError when a run cannot begin there."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"{folder} is not empty", f"name another folder, or go on with that run: make loadtest RESUME={folder}", 2)


def name_of(cell: Cell) -> str:
    """Return what the file of a cell is called."""
    return f"{cell.workload}.{cell.candidate}.{cell.kind}.b{cell.block:02d}.a{cell.attempt}"


def write_whole(path: Path, content: bytes) -> None:
    """Write beside, then rename: whoever reads sees the old file or the new one, after a power cut as well."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".partial")
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    Path(name).chmod(0o644)
    Path(name).rename(path)


def _read(path: Path, adapter: TypeAdapter[Any]) -> Any:
    try:
        thing = adapter.validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        if first["type"] == "json_invalid":
            raise RunError(f"{path} is not complete: {first['msg']}", "delete it, then go on: make loadtest RESUME=…") from None
        raise RunError(f"{path}: {where}: {first['msg']}", "it was written by another version, or by hand") from None
    if thing.format != FORMAT:
        raise RunError(f"{path} has format {thing.format}; this version reads {FORMAT}", "use the version that wrote it")
    return thing
