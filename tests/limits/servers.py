"""What the processes of a running stack use, seen from this machine, in both runtimes."""

import psutil

from loadtest.measure.usage import meter
from tests.surgery import docker, unit_list
from tools.stack import Stack, Unit

# TRUSTED_PROXIES, with which the address from which this machine reaches the gateway is a load balancer's: each client can be given an
# address of its own by X-Forwarded-For.
PROXIES = "127.0.0.1,172.16.0.0/12,192.168.0.0/16"


def _pid(stack: Stack, unit: Unit) -> int:
    return int(unit.id if stack.runtime == "local" else docker("inspect", "--format", "{{.State.Pid}}", unit.id))


def family(stack: Stack, service: str) -> list[psutil.Process]:
    """All processes of a service, in all its instances."""
    return [
        process
        for root in (psutil.Process(_pid(stack, unit)) for unit in unit_list(stack, service))
        for process in (root, *root.children(recursive=True))
    ]


def cpu_s(processes: list[psutil.Process]) -> float:
    """CPU time that they have used so far; the kernel counts it in hundredths of a second."""
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def open_files(processes: list[psutil.Process]) -> int:
    """How many descriptors they hold: for nginx, its connections and temp files and a few more."""
    return sum(process.num_fds() for process in processes)


def memory_bytes(stack: Stack, service: str) -> int:
    """Memory of a service: of its container with all tmpfs in it, or of its processes, what they share counted once."""
    (unit,) = unit_list(stack, service)
    memory = meter(stack, unit).memory_bytes()
    assert memory is not None, f"the control group of {service} cannot be read"
    return memory
