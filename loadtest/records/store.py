"""Runs on disk: `<folder>/manifest.json`, written whole, and `<folder>/records.jsonl`, to which each record is added as it comes."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from loadtest.records.model import FORMAT, Manifest
from loadtest.records.slices import Record

MANIFEST, RECORDS = "manifest.json", "records.jsonl"
_MANIFEST: TypeAdapter[Manifest] = TypeAdapter(Manifest)
_RECORD: TypeAdapter[Record] = TypeAdapter(Record)


class RunError(Exception):
    """What a user can act on: `message` says what is wrong, `hint` what would be right."""

    def __init__(self, message: str, hint: str = "", exit_code: int = 1) -> None:
        super().__init__(message)
        self.message, self.hint, self.exit_code = message, hint, exit_code


class Store:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def create(cls, folder: Path, manifest: Manifest) -> Store:
        """Begin a run; raises RunError when the folder holds something already."""
        require_empty(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / MANIFEST, _MANIFEST.dump_json(manifest, indent=1))
        (folder / RECORDS).touch()
        return cls(folder)

    def manifest(self) -> Manifest:
        """Read what was decided before the run."""
        path = self.folder / MANIFEST
        if not self.folder.is_dir():
            raise RunError(f"there is no run {self.folder}", "`make loadtest` makes one; loadtest/results holds them", 2)
        if not path.is_file():
            what = "is empty" if not any(self.folder.iterdir()) else "is not a run of this load test: it has no manifest.json"
            raise RunError(f"{self.folder} {what}", "right is a folder under loadtest/results", 2)
        text = path.read_bytes()
        if (found := _format(text)) not in {None, FORMAT}:
            raise RunError(f"{path} has format {found}; this version reads {FORMAT}", "use the version that wrote it", 2)
        manifest: Manifest = _read(str(path), text, _MANIFEST)
        return manifest

    def add(self, record: Record) -> None:
        with (self.folder / RECORDS).open("ab") as file:
            file.write(_RECORD.dump_json(record) + b"\n")

    def records(self) -> list[Record]:
        """Read all records, in the order in which they were made."""
        path = self.folder / RECORDS
        if not path.is_file():
            raise RunError(f"{self.folder} has no records any more: only its report is left", "right is a folder under loadtest/results", 2)
        # A line without its end was being written when the run was killed.
        lines = path.read_bytes().split(b"\n")[:-1]
        return [_read(f"{path}, line {number}", line, _RECORD) for number, line in enumerate(lines, 1)]

    def write(self, name: str, text: str) -> Path:
        write_whole(self.folder / name, text.encode())
        return self.folder / name


def require_empty(folder: Path) -> None:
    """Raise RunError when a run cannot begin there."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"{folder} is not empty", "name another folder", 2)


def write_whole(path: Path, content: bytes) -> None:
    """Write beside, then rename: whoever reads sees the old file or the new one, after a power cut as well."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".partial")
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    Path(name).chmod(0o644)
    Path(name).rename(path)


def _format(text: bytes) -> Any:
    try:
        return json.loads(text).get("format")
    except (ValueError, AttributeError):
        return None  # _read says what is wrong with it


def _read(where: str, text: bytes, adapter: TypeAdapter[Any]) -> Any:
    try:
        return adapter.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            raise RunError(f"{where} is not complete: {first['msg']}", "the file was cut, or changed by hand") from None
        place = ".".join(str(part) for part in first["loc"])
        raise RunError(f"{where}: {place}: {first['msg']}", "it was written by another version, or by hand") from None
