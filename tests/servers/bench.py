"""What a server, or a setting of one, costs for a request: python -m tests.servers.bench uwsgi uwsgi-pass "uwsgi UWSGI_THUNDER_LOCK=0".

A stack for each, 2 processes of 8 threads, WAF off; slices of a second in random order, so what else the machine does meets all alike.
For each: CPU of gateway and app for a request and requests per second, as ratios to the first (the median of the pairs, with the range
of their middle half); how often the app's threads were woken for a request; its memory (PSS). Needs wrk, and root.
"""

import os
import random
import re
import statistics
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import psutil

from loadtest.measure import kit
from tests.nginx.bench import ratios, wrk
from tools.stack import Stack, open_stack
from tools.stack.compose import docker
from tools.stack.machine import free_ports

SLICES = 30
ENOUGH = 50  # requests in a slice
CONNECTIONS = int(os.environ.get("CONNECTIONS", "16"))
# The load test's, and the same room for each.
SETTINGS = {
    **kit.SETTINGS,
    "GUNICORN_WORKER_CLASS": "gthread",
    "WEB_CONCURRENCY": "2",
    "GUNICORN_THREADS": "8",
    "APP_CPUS": "2.0",
}


class Slice(NamedTuple):
    """A second of requests to one server."""

    app_us: float
    gateway_us: float
    woken: float
    rate: float


def tasks(stack: Stack, service: str) -> list[Path]:
    """All threads of a service's container."""
    unit = next(unit for unit in stack.processes() if unit.service == service)
    first = psutil.Process(int(docker("inspect", "--format", "{{.State.Pid}}", unit.id)))
    return [task for process in (first, *first.children(recursive=True)) for task in Path(f"/proc/{process.pid}/task").iterdir()]


def used(found: list[Path]) -> tuple[float, int]:
    """CPU time so far, and how often they were woken."""
    woken = sum(int(re.findall(r"\nvoluntary_ctxt_switches:\s+(\d+)", (task / "status").read_text())[0]) for task in found)
    return sum(int((task / "schedstat").read_text().split()[0]) for task in found) / 1000, woken


def memory_mb(found: list[Path]) -> float:
    """PSS of their processes."""
    rollups = [(process / "smaps_rollup").read_text() for process in {task.parents[1] for task in found}]
    return sum(int(re.findall(r"Pss:\s+(\d+)", text)[0]) for text in rollups) / 1024


def load(stack: Stack, path: str) -> Slice:
    """Load one server for a second; again, when the machine was too busy for enough requests to tell."""
    app, gateway = tasks(stack, "app"), tasks(stack, "gateway")
    before = used(app), used(gateway)
    count, rate = wrk(f"{stack.url}{path}", CONNECTIONS)
    after = used(app), used(gateway)
    if count < ENOUGH:
        return load(stack, path)
    (app_us, woken), (gateway_us, _) = ([new - old for old, new in zip(*pair, strict=True)] for pair in zip(before, after, strict=True))
    return Slice(app_us / count, gateway_us / count, woken / count, rate)


def main(*variants: str) -> None:
    """Measure and print; what is given is a name of servers/ or gunicorn, and settings."""
    path = os.environ.get("BENCH_PATH", "/lab/json")
    with ExitStack() as exits:
        stacks = {}
        for number, (variant, port) in enumerate(zip(variants, free_ports(len(variants)), strict=True)):
            server, *settings = variant.split()
            env = {**SETTINGS, "SERVER": server, "GATEWAY_PORT": str(port), **dict(one.split("=", 1) for one in settings)}
            stacks[variant] = open_stack("compose", name=f"kit-bench-servers-{os.getpid()}-{number}", env=env)
            exits.callback(stacks[variant].down, volumes=True)
            stacks[variant].up()
        found: dict[str, list[Slice]] = {variant: [] for variant in variants}
        for _ in range(SLICES + 1):
            for variant in random.sample(variants, len(variants)):
                found[variant].append(load(stacks[variant], path))
        print(f"{path}, {CONNECTIONS} connections, {SLICES} slices of a second each, load of the machine {psutil.getloadavg()[0]:.1f}\n")
        print("| server | CPU | of it the app's | requests/s | woken for a request | memory |\n|---|---|---|---|---|---|")
        first = found[variants[0]][1:]  # the first slice of each warms up
        for variant, (_, *slices) in found.items():
            columns = [
                ratios(slices, first, lambda one: one.app_us + one.gateway_us),
                ratios(slices, first, lambda one: one.app_us),
                ratios(slices, first, lambda one: one.rate),
                f"{statistics.median(one.woken for one in slices):.2f}",
                f"{memory_mb(tasks(stacks[variant], 'app')):.0f} MB",
            ]
            print(f"| {variant} | {' | '.join(columns)} |")


if __name__ == "__main__":
    main(*sys.argv[1:])
