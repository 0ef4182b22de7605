"""What a container used, from the files of its control group: exact, and a hundred times cheaper than `docker stats`."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

from loadtest.records.model import Usage

CGROUPS = Path("/sys/fs/cgroup")
PROC = Path("/proc")


def container_usage(container: str) -> Usage:
    """Return the counters of a container; all None where its files are out of reach (an engine in a virtual machine)."""
    pid = _pid(container)
    return cgroup_usage(_paths(pid)) if pid else Usage()


def cgroup_usage(paths: dict[str, Path]) -> Usage:
    """Read the files of a control group; `paths`: controller -> folder, "" for version 2."""
    if "" in paths and (paths[""] / "cpu.stat").is_file():
        stat = _table(paths[""] / "cpu.stat")
        return Usage(
            cpu_s=_scaled(stat.get("usage_usec"), 1e-6),
            memory_bytes=_number(paths[""] / "memory.current"),
            throttled_s=_scaled(stat.get("throttled_usec", 0), 1e-6),
            processes=_number(paths[""] / "pids.current"),
        )
    cpu, memory, pids = (paths.get(name) for name in ("cpu", "memory", "pids"))
    return Usage(
        cpu_s=_scaled(_number(paths["cpuacct"] / "cpuacct.usage"), 1e-9) if "cpuacct" in paths else None,
        memory_bytes=_number(memory / "memory.usage_in_bytes") if memory else None,
        throttled_s=_scaled(_table(cpu / "cpu.stat").get("throttled_time"), 1e-9) if cpu else None,
        processes=_number(pids / "pids.current") if pids else None,
    )


def held_memory(pid: int) -> tuple[int, int]:
    """Return the bytes that count against the limit of a process's control group, and those of them that are its processes' heaps.

    What is left is files and shared memory, which the kernel gives back or which have a size of their own. (0, 0): out of reach.
    """
    paths = _paths(pid)
    folder = paths.get("memory") or paths.get("") or CGROUPS / "none"
    stat = _table(folder / "memory.stat")
    return cgroup_usage(paths).memory_bytes or 0, stat.get("anon", stat.get("total_rss", 0))


@cache
def _pid(container: str) -> int | None:
    answer = subprocess.run(
        ["docker", "inspect", "--format", "{{.State.Pid}}", container], capture_output=True, text=True, check=False, timeout=10
    )
    text = answer.stdout.strip()
    return int(text) if text.isdigit() and int(text) and (PROC / text).is_dir() else None


@cache
def _paths(pid: int) -> dict[str, Path]:
    """Return the folder of each controller that the process is in; "" is that of version 2."""
    found: dict[str, Path] = {}
    try:
        lines = (PROC / str(pid) / "cgroup").read_text(encoding="ascii").splitlines()
    except OSError:
        return found
    for line in lines:
        _, controllers, path = line.split(":", 2)
        for name in controllers.split(","):
            for root in (CGROUPS / controllers, CGROUPS / name):
                if (folder := root / path.lstrip("/")).is_dir():
                    found[name] = folder
                    break
    return found


def _table(path: Path) -> dict[str, int]:
    try:
        pairs = (line.split() for line in path.read_text(encoding="ascii").splitlines())
        return {pair[0]: int(pair[1]) for pair in pairs if len(pair) > 1}
    except (OSError, ValueError):
        return {}


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor
