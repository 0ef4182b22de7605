"""What the processes of a running stack use, seen from this machine, in both runtimes."""

from contextlib import suppress
from pathlib import Path

import psutil

from stack import Stack, Unit
from tests.surgery import docker, unit_list


def roots(stack: Stack, service: str) -> list[psutil.Process]:
    """The first process of each instance of a service."""
    return [psutil.Process(_pid(stack, unit)) for unit in unit_list(stack, service)]


def _pid(stack: Stack, unit: Unit) -> int:
    return int(unit.id if stack.runtime == "local" else docker("inspect", "--format", "{{.State.Pid}}", unit.id))


def family(stack: Stack, service: str) -> list[psutil.Process]:
    """All processes of a service, in all its instances."""
    return [process for root in roots(stack, service) for process in (root, *root.children(recursive=True))]


def cpu_s(processes: list[psutil.Process]) -> float:
    """CPU time that they have used so far; the kernel counts it in hundredths of a second."""
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def open_files(processes: list[psutil.Process]) -> int:
    """How many descriptors they hold: for nginx, its connections and temp files and a few more."""
    return sum(process.num_fds() for process in processes)


def memory_bytes(stack: Stack, service: str) -> int:
    """Memory of a service: of its container with all tmpfs in it, or of its processes, what they share counted once."""
    if stack.runtime == "local":
        total = 0
        for process in family(stack, service):
            with suppress(psutil.NoSuchProcess):  # it has just ended
                total += process.memory_full_info().pss
        return total
    (root,) = roots(stack, service)
    groups = dict(line.split(":", 2)[1:] for line in Path(f"/proc/{root.pid}/cgroup").read_text().splitlines())
    files = [Path(f"/sys/fs/cgroup{groups.get('', '')}/memory.current"), _version_1(groups)]
    return int(next(file for file in files if file.is_file()).read_text())


def _version_1(groups: dict[str, str]) -> Path:
    return Path(f"/sys/fs/cgroup/memory{groups.get('memory', '')}/memory.usage_in_bytes")
