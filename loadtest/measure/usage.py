"""What a container, or a process with its children, has used: the kernel's own counters, in nanoseconds where it has them."""

import sys
import time
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import psutil

from loadtest.records.slices import Usage
from tools.stack import Stack, Unit
from tools.stack.compose import docker

CGROUPS = Path("/sys/fs/cgroup")
PROC = Path("/proc")


class ContainerMeter:
    """A container, by the files of its control group: exact, and a hundred times cheaper than `docker stats`.

    Reading raises ProcessLookupError when it has ended.
    """

    def __init__(self, container: str) -> None:
        self._pid = _pid(container)
        self._paths = _paths(self._pid) if self._pid else {}  # none: out of reach, an engine in a virtual machine

    def look(self) -> None:
        """The group knows its processes at any moment."""

    def cpu_ns(self) -> int | None:
        if self._pid and not (PROC / str(self._pid)).is_dir():
            raise ProcessLookupError
        if own := self._paths.get(""):
            used_us = _table(own / "cpu.stat").get("usage_usec")
            return None if used_us is None else used_us * 1000
        return _number(self._paths["cpuacct"] / "cpuacct.usage") if "cpuacct" in self._paths else None

    def read(self) -> Usage:
        cpu_ns = self.cpu_ns()  # first: it is what matters
        folder = self._paths.get("") or self._paths.get("cpu")
        stat = _table(folder / "cpu.stat") if folder else {}
        throttled_ns = stat["throttled_usec"] * 1000 if "throttled_usec" in stat else stat.get("throttled_time")
        waited_ns, switches = _scheduled(_lines(folder / "cgroup.procs")) if folder else (None, None)
        return Usage(cpu_ns=cpu_ns, waited_ns=waited_ns, switches=switches, throttled_ns=throttled_ns)

    def memory_bytes(self) -> int | None:
        folder = self._paths.get("") or self._paths.get("memory")
        return _memory(folder) if folder else None


class ProcessMeter:
    """A process with its children, as ContainerMeter."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self.look()

    def look(self) -> None:
        """Find out which processes there are; not while something is measured."""
        try:
            self._all = [self._root, *self._root.children(recursive=True)]
        except psutil.NoSuchProcess:
            raise ProcessLookupError from None

    def cpu_ns(self) -> int | None:
        try:
            ended = self._root.cpu_times()  # what children used that have ended: a replaced worker has cost what it cost
            used_ns = round((ended.children_user + ended.children_system) * 1e9) + _cpu_ns(self._root)
        except psutil.NoSuchProcess:
            raise ProcessLookupError from None
        for process in self._all[1:]:
            try:
                used_ns += _cpu_ns(process)
            except (ProcessLookupError, psutil.NoSuchProcess):
                continue
        return used_ns

    def read(self) -> Usage:
        cpu_ns = self.cpu_ns()
        waited_ns, switches = _scheduled(str(process.pid) for process in self._all)
        return Usage(cpu_ns=cpu_ns, waited_ns=waited_ns, switches=switches)

    def memory_bytes(self) -> int | None:
        """Memory that the processes share is counted once where the system tells (Linux)."""
        self.look()
        memory = 0
        for process in self._all:
            try:
                full = process.memory_full_info()
            except psutil.Error:
                continue
            memory += getattr(full, "pss", full.rss)
        return memory


def meter(stack: Stack, unit: Unit) -> ContainerMeter | ProcessMeter:
    """Return the counters of a unit of a running stack."""
    return ContainerMeter(unit.id) if stack.runtime == "compose" else ProcessMeter(int(unit.id))


def held_memory(pid: int) -> tuple[int, int]:
    """Return the bytes that count against the limit of a process's control group, and those of them that are its processes' heaps.

    What is left is files and shared memory, which the kernel gives back or which have a size of their own. (0, 0): out of reach.
    """
    paths = _paths(pid)
    folder = paths.get("") or paths.get("memory") or CGROUPS / "none"
    stat = _table(folder / "memory.stat")
    return _memory(folder) or 0, stat.get("anon", stat.get("total_rss", 0))


def _cpu_ns(process: psutil.Process) -> int:
    """Return the processor time of all threads of a process, those that have ended too; raises when it has ended itself."""
    if sys.platform != "linux":
        times = process.cpu_times()
        return round((times.user + times.system) * 1e9)
    try:
        return time.clock_gettime_ns(~process.pid << 3 | 2)  # the process's clock, as clock_getcpuclockid(3) makes it
    except OSError:
        raise ProcessLookupError from None


def _scheduled(pids: Iterable[str]) -> tuple[int | None, int | None]:
    """Return how long the threads of these processes have waited for a processor (ns), and how often they were put on one."""
    waited_ns = switches = 0
    for pid in filter(None, pids):
        for path in (PROC / pid / "task").glob("*/schedstat"):
            _, waited, times = (*_lines(path, " "), "0", "0", "0")[:3]
            waited_ns, switches = waited_ns + int(waited), switches + int(times)
    return (waited_ns, switches) if switches else (None, None)


@cache
def _pid(container: str) -> int | None:
    text = docker("inspect", "--format", "{{.State.Pid}}", container)
    return int(text) if text.isdigit() and int(text) and (PROC / text).is_dir() else None


@cache
def _paths(pid: int) -> dict[str, Path]:
    """Return the folder of each controller that the process is in; "" is that of version 2, where that has the counters."""
    found: dict[str, Path] = {}
    for line in _lines(PROC / str(pid) / "cgroup", "\n"):
        _, controllers, path = line.split(":", 2)
        for name in controllers.split(","):
            for root in (CGROUPS / controllers, CGROUPS / name):
                if (folder := root / path.lstrip("/")).is_dir():
                    found[name] = folder
                    break
    if "" in found and not (found[""] / "cpu.stat").is_file():
        del found[""]  # the counters are those of version 1
    return found


def _memory(folder: Path) -> int | None:
    return _number(folder / "memory.current") or _number(folder / "memory.usage_in_bytes")


def _table(path: Path) -> dict[str, int]:
    try:
        pairs = (line.split() for line in path.read_text(encoding="ascii").splitlines())
        return {pair[0]: int(pair[1]) for pair in pairs if len(pair) > 1}
    except (OSError, ValueError):
        return {}


def _lines(path: Path, separator: str = "\n") -> list[str]:
    try:
        return path.read_text(encoding="ascii").strip().split(separator)
    except OSError:
        return []


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
