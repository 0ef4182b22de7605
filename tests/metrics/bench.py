"""What counting costs a request of the whole stack: `python -m tests.metrics.bench`. A bench of eight minutes, not for CI; needs wrk.

Two stacks beside each other, one with compose/metrics.yaml; slices of /lab/json in turn, in random order within a pair. The CPU time of
all containers that a request passes, and of the exporter, by their control groups; the median of the pairs and their middle half.
"""

import os
import random
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psutil

from loadtest.measure.usage import ContainerMeter, ProcessMeter, meter
from tests.nginx.bench import ratios, wrk
from tools.stack import open_stack
from tools.stack.compose import ComposeStack
from tools.stack.machine import free_ports

PAIRS = 150
CONNECTIONS = 8
SERVICES = ("app", "gateway", "waf", "metrics")
Meters = dict[str, list[ContainerMeter | ProcessMeter]]


@contextmanager
def running(*, counting: bool) -> Iterator[tuple[str, Meters]]:
    """Start a stack; yield where it answers, and the counters of its services."""
    gateway, prometheus = free_ports(2)
    settings = {"GATEWAY_PORT": str(gateway), "PROMETHEUS_PORT": str(prometheus), "LAB_ENABLED": "1", "LIMITS": "off", "MAX_IN_FLIGHT": "0"}
    settings |= {"APP_REPLICAS": "1", "WEB_CONCURRENCY": "1", "GUNICORN_CMD_ARGS": "--max-requests 0"}
    files = "docker-compose.yml" + ":compose/metrics.yaml" * counting
    name = f"kit-cost-{'counted' if counting else 'plain'}"
    stack = open_stack("compose", name=name, env={**os.environ, **settings, "COMPOSE_FILE": files})
    assert isinstance(stack, ComposeStack)
    try:
        stack.up()
        yield stack.url, {service: [meter(stack, unit) for unit in stack.units(service)] for service in SERVICES}
    finally:
        stack.down(volumes=True)


def spent(url: str, meters: Meters) -> dict[str, float]:
    """Load a stack for a second; return the CPU time of one request in each of its services, in microseconds."""

    def used() -> dict[str, int]:
        return {service: sum(each.cpu_ns() or 0 for each in found) for service, found in meters.items()}

    before = used()
    count, _ = wrk(f"{url}/lab/json", CONNECTIONS)
    time.sleep(
        0.2
    )  # not for all: about a seventh of the lines is counted later, and left out; to wait for them would add what it does idle
    return {service: (after - before[service]) / count / 1000 for service, after in used().items()}


def main() -> None:
    print(f"{PAIRS} pairs, load of the machine before: {psutil.getloadavg()[0]:.1f}\n")
    with ExitStack() as exits:
        stacks = {counting: exits.enter_context(running(counting=counting)) for counting in (False, True)}
        found: dict[bool, list[dict[str, float]]] = {False: [], True: []}
        for _ in range(PAIRS + 1):  # the first pair warms up
            for counting in random.sample([False, True], 2):
                found[counting].append(spent(*stacks[counting]))
    plain, counted = found[False][1:], found[True][1:]

    def row(title: str, services: tuple[str, ...]) -> None:
        def of(one: dict[str, float]) -> float:
            return sum(one[service] for service in services)

        medians = [f"{statistics.median(map(of, side)):.0f}" for side in (plain, counted)]
        print(f"| {title} | {' | '.join(medians)} | {ratios(counted, plain, of) if of(plain[0]) else ''} |")

    print("| | µs for a request, without | with | with / without |\n|---|---|---|---|")
    for service in SERVICES:
        row(service, (service,))
    row("together", SERVICES)


if __name__ == "__main__":
    main()
