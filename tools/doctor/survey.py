"""Decide what to look at, and look: the files always, and what runs when it belongs to these files."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tools.doctor import compose, containers, drift, gather, processes
from tools.doctor.containers import Found
from tools.doctor.facts import Facts, Missing
from tools.doctor.gather import Kit, Runtime
from tools.doctor.judge import Finding
from tools.doctor.values import CannotRead

DEFAULT_PROJECT = "flask-kit"
NOT_ASKED = Missing("not looked at (--runtime files)")


@dataclass(frozen=True, slots=True)
class Survey:
    """The facts of the files, of what runs (None when nothing does), and in words what that is or why nothing is."""

    kit: Kit
    files: Facts
    running: Facts | None
    running_as: str

    def file_names(self) -> tuple[str, ...]:
        """The Compose files, as a person names them."""
        return tuple(str(p.relative_to(self.kit.root)) if p.is_relative_to(self.kit.root) else str(p) for p in self.kit.files)

    def drift(self) -> tuple[Finding, ...]:
        """What runs against what the files say."""
        return drift.compare(self.files, self.running) if self.running else ()


def survey(folder: Path, files: Sequence[Path], project: str | None, runtime: str) -> Survey:
    """Look at everything. CannotRead when the folder is no kit, or one of its files cannot be read."""
    kit = Kit.find(folder, files)
    model = compose.load(kit.root, kit.files, project)
    if runtime == "compose" and isinstance(model, Missing):
        raise CannotRead(model.reason)
    name = project or (str(model.model["name"]) if isinstance(model, compose.Project) else DEFAULT_PROJECT)
    boxes = _containers(kit, name, runtime)
    if isinstance(boxes, Found):
        kit, model = _as_started(kit, model, boxes, files, project)
        # Both wait for other programs most of the time.
        with ThreadPoolExecutor() as pool:
            running = pool.submit(containers.facts, boxes)
            return Survey(kit, gather.from_files(kit, model, "compose"), running.result(), f"the containers of {name}")
    local = _processes(kit, name, runtime)
    if isinstance(local, Facts):
        return Survey(kit, gather.from_files(kit, model, "local"), local, f"the processes of {name}")
    judged: Runtime = "local" if runtime == "local" or isinstance(model, Missing) else "compose"
    reasons = [reason.reason for reason in (boxes, local) if reason is not NOT_ASKED] or [NOT_ASKED.reason]
    return Survey(kit, gather.from_files(kit, model, judged), None, f"nothing ({'; '.join(reasons)})")


def _containers(kit: Kit, name: str, runtime: str) -> Found | Missing:
    if runtime not in {"auto", "compose"}:
        return NOT_ASKED
    found = containers.find(name)
    if isinstance(found, Found) and found.folder.resolve() != kit.root:
        return Missing(f"the containers of the project {name} were started from {found.folder}")
    return found


def _processes(kit: Kit, name: str, runtime: str) -> Facts | Missing:
    return processes.facts(kit.root, name) if runtime in {"auto", "local"} else NOT_ASKED


def _as_started(
    kit: Kit, model: compose.Project | Missing, found: Found, files: Sequence[Path], project: str | None
) -> tuple[Kit, compose.Project | Missing]:
    """The same Compose files as the containers were started with, unless some were named on the command line."""
    started = tuple(path.resolve() for path in found.files)
    if files or started == kit.files or not all(path.is_file() for path in started):
        return kit, model
    return Kit(kit.root, started), compose.load(kit.root, started, project)
