"""What the containers of a stack hold at one moment, read from outside: it costs them nothing and needs nothing in them.

It needs root on the engine's machine: whose files a process has open, and how long the engine's logs are, only root may see.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import psutil

from loadtest.measure.usage import held_memory
from tools.reliability.records import Sample
from tools.stack import StackError
from tools.stack.compose import ORDER, docker

PROC = Path("/proc")
_FACTS = '{{.Id}} {{.State.Pid}} {{.State.StartedAt}} {{index .Config.Labels "com.docker.compose.service"}}'
# What PostgreSQL calls a process that serves one connection of the app: "postgres: kit kit 172.18.0.5(40312) idle".
_BACKEND = "postgres: kit kit "


def read_stack(name: str, at_s: float = 0.0) -> list[Sample]:
    """Return a sample of each container of a Compose project that serves; StackError when the engine does not tell."""
    label = "label=com.docker.compose"
    wanted = ["--filter", f"{label}.project={name}", "--filter", f"{label}.oneoff=False"]
    containers = docker("ps", "--no-trunc", "--quiet", *wanted).split()
    facts = docker("inspect", "--format", _FACTS, *containers).splitlines() if containers else []
    return list(_samples(facts, at_s))


def _samples(facts: Sequence[str], at_s: float) -> Iterator[Sample]:
    now = datetime.now(UTC)
    for line in facts:
        container, pid, started, service = line.split()
        if service in ORDER and pid != "0":
            # One that ends at this moment is left out; what /proc says of it is one of several errors.
            with suppress(psutil.NoSuchProcess, OSError):
                yield _sample(container, int(pid), service, at_s, (now - datetime.fromisoformat(started)).total_seconds())


def _sample(container: str, pid: int, service: str, at_s: float, age_s: float) -> Sample:
    parent = psutil.Process(pid)
    # By parentage and not by control group: that also holds the health check's processes, which come and go.
    tree = [parent, *parent.children(recursive=True)]
    serving = [process for process in tree if service != "database" or not _is_backend(process)]
    opened = [_opened(process.pid) for process in serving]
    memory, anonymous = held_memory(pid)
    return Sample(
        at_s=at_s,
        age_s=age_s,
        service=service,
        container=container[:12],
        memory_bytes=memory,
        anonymous_bytes=anonymous,
        processes=len(serving),
        files=sum(map(len, opened)),
        sockets=sum(target.startswith("socket:") for targets in opened for target in targets),
        connections=len(tree) - len(serving),
        temp_bytes=_temp_bytes(pid),
        log_bytes=sum(size for _, size in log_files(container)),
        pids=tuple(process.pid for process in serving),
    )


def _cmdline(process: psutil.Process) -> list[str]:
    with suppress(psutil.NoSuchProcess):
        return process.cmdline()
    return []


def _is_backend(process: psutil.Process) -> bool:
    return " ".join(_cmdline(process)).startswith(_BACKEND)


def _opened(pid: int) -> list[str]:
    """Return what the descriptors of a process point to; of one that has just ended nothing."""
    targets = []
    try:
        for link in (PROC / str(pid) / "fd").iterdir():
            with suppress(FileNotFoundError):
                targets.append(str(link.readlink()))
    except PermissionError:
        raise StackError("only root may see what the processes of a container have open", hint="run this as root") from None
    except (FileNotFoundError, ProcessLookupError):
        return []
    return targets


def _temp_bytes(pid: int) -> int:
    """Return the bytes in a container's temporary file systems; the engine's own (/dev, masked folders) are left out."""
    lines = (PROC / str(pid) / "mounts").read_text().splitlines()
    places = [place for _, place, kind, *_ in map(str.split, lines) if kind == "tmpfs"]
    used = 0
    for place in places:
        if place != "/dev" and not place.startswith(("/proc", "/sys")):
            found = os.statvfs(PROC / str(pid) / "root" / place.lstrip("/"))
            used += (found.f_blocks - found.f_bfree) * found.f_frsize
    return used


def log_files(container: str) -> list[tuple[str, int]]:
    """Return the files of a container's log on the engine's disk with their bytes, by its whole id."""
    folder = _engine_root() / "containers" / container
    if not folder.is_dir():
        raise StackError("the engine's files are out of reach", hint="run this as root on the engine's machine")
    files = []
    for path in folder.rglob("*.log*"):
        with suppress(FileNotFoundError):  # it is just being rotated
            files.append((path.name, path.stat().st_size))
    return files


@cache
def _engine_root() -> Path:
    return Path(docker("info", "--format", "{{.DockerRootDir}}"))
