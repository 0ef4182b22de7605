"""What happens to the nodes under load, and what became of every request and every write."""

import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

from tools.reliability.judge.ledger import Balance, reconcile
from tools.reliability.judge.timeline import Effect, effect
from tools.reliability.measure.load import Load
from tools.reliability.measure.stacks import stored_writes
from tools.reliability.records import LoadResult
from tools.stack.base import StackError
from tools.stack.waiting import wait_until
from tools.swarm.deploy import strength
from tools.swarm.nodes import COUNT, Nodes

# The engine takes a node for lost after three heartbeats of 5 s, and one that was killed has to start.
STRENGTH_S = 180


@dataclass(frozen=True)
class Seen:
    """What one load saw, and what the database has of it."""

    load: LoadResult
    effect: Effect
    balance: Balance
    lasted_s: float  # what was done, to its end

    def __str__(self) -> str:
        failed = ", ".join(f"{count} {kind}" for kind, count in self.effect.failed.items()) or "none failed"
        first, last = self.effect.first_failure_s, self.effect.last_failure_s
        when = f" ({first:.1f} to {last:.1f} s after it began)" if first is not None and last is not None else ""
        says = f"{self.effect.requests} requests, {failed}{when}, {self.load.dropped} dropped, {self.effect.slow} over 2 s"
        return f"{says}, slowest {self.effect.slowest_s:.2f} s; {self.balance.sent} writes, {self.balance}"


class Cluster:
    """The nodes of a test, with what is done to them."""

    def __init__(self, nodes: Nodes) -> None:
        self.nodes = nodes
        self.stack = nodes.stack_name

    def exec(self, service: str, argv: list[str], *, index: int = 1) -> subprocess.CompletedProcess[str]:
        """Run a command in the first container of a service, as a stack does."""
        for number in range(1, COUNT + 1):
            if boxes := self.boxes(number, service):
                return self.nodes.manager(number).ask("exec", boxes[0], *argv)
        raise AssertionError(f"no node has a container of {service}")

    def boxes(self, number: int, service: str) -> list[str]:
        """The containers of a service that run on a node."""
        label = f"label=com.docker.swarm.service.name={self.stack}_{service}"
        return self.nodes.manager(number).ask("ps", "--quiet", "--filter", label).stdout.split()

    def strength(self, number: int = 1) -> dict[str, tuple[int, int]]:
        """Map each service to how many of its containers run, and how many should, as a manager sees it."""
        return {name.removeprefix(f"{self.stack}_"): counts for name, counts in strength(self.nodes.manager(number), self.stack).items()}

    def spread(self) -> list[int]:
        """How many containers of the app each node has."""
        return [len(self.boxes(number, "app")) for number in range(1, COUNT + 1)]

    @property
    def images(self) -> dict[str, str]:
        """The settings that name the images which run."""
        rows = [line.split() for line in self.nodes.manager().docker("service", "ls", "--format", "{{.Name}} {{.Image}}").splitlines()]
        return {f"{name.removeprefix(f'{self.stack}_').upper()}_IMAGE": image for name, image in rows}

    def containers(self) -> set[str]:
        """All containers of the stack that are meant to run."""
        return set(self.nodes.manager().docker("stack", "ps", "--quiet", "--filter", "desired-state=running", self.stack).split())

    def wait(self, condition: Callable[[], bool] = lambda: True) -> None:
        """Return when all services are at strength, and a condition holds."""

        def full() -> bool:
            with suppress(StackError):  # managers that choose a leader do not answer
                return condition() and all(count == wanted for count, wanted in self.strength().values())
            return False

        wait_until(full, STRENGTH_S, lambda: f"not at strength: {self.strength()}", poll_s=0.5)

    def lose(self) -> None:
        """Return when the engine has noticed that a node is gone, and has made up for it."""
        self.wait(lambda: self.strength()["gateway"][1] < COUNT)

    def regain(self) -> None:
        """Return when a node is back, with a gateway on it."""
        self.wait(lambda: self.strength()["gateway"][1] == COUNT)

    def observe(
        self,
        act: Callable[[], Any],
        *,
        rate_per_s: float = 100,
        least_s: float = 0,
        after_s: float = 5,
        urls: Sequence[str] = (),
        keep_alive: bool = True,
    ) -> Seen:
        """Let something happen under load, for `least_s` seconds at least."""
        with Load(" ".join(urls or self.nodes.urls), rate_per_s=rate_per_s, keep_alive=keep_alive) as load:
            wait_until(load.sent_for(3), 60, "the load goes on")
            began_s = time.monotonic()
            act()
            lasted_s = time.monotonic() - began_s
            wait_until(load.sent_for(max(after_s, least_s - lasted_s)), 600, "the load goes on")
        result = load.result()
        stored = stored_writes(cast("Any", self))
        return Seen(result, effect(result.requests, began_s), reconcile(result.writes, stored), lasted_s)

    def answered(self) -> Counter[int]:
        """Count the requests of visitors that the app's containers on each node have logged so far."""
        counted: Counter[int] = Counter()
        for number in range(1, COUNT + 1):
            for box in self.boxes(number, "app"):
                counted[number] += self.nodes.manager(number).ask("logs", box).stdout.count('"path":')
        return counted
