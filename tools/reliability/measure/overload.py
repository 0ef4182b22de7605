"""Overload: the most that a stack answers in time, and then so many times as many requests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from loadtest.measure.machine import share_of_all, steal_s
from tools.reliability.judge.timeline import goodput
from tools.reliability.measure.event import Event
from tools.reliability.measure.faults import MIX
from tools.reliability.measure.load import Load
from tools.reliability.measure.stacks import STACK_S, Options, gateway_address, keep_apart, let_run, outcome, ready, stack_for
from tools.reliability.records import LoadResult, Overload
from tools.stack.compose import ComposeStack, docker

# The ladder to the peak: from the first rate up, each step for so long, until on two steps in a row less than this share of what is
# asked is answered in time. On one alone it may be the machine, or workers that are not warm yet.
STEP, STEP_S = 1.4, 8.0
ENOUGH, SHORT_STEPS = 0.8, 2
HIGHEST_PER_S = 2000.0
# The load before, during and after the overload, as a share of the peak: when it is served again, the site has recovered.
CALM = 0.3
BEFORE_S, AFTER_S = 5.0, 12.0
MEASURED_SERVICES = ("gateway", "waf", "app", "database")
# The most that a container ever held and what it may hold, in bytes: cgroup v2 and v1.
_MEMORY = (
    "cat /sys/fs/cgroup/memory.peak /sys/fs/cgroup/memory.max 2>/dev/null || "
    "cat /sys/fs/cgroup/memory/memory.max_usage_in_bytes /sys/fs/cgroup/memory/memory.limit_in_bytes"
)


@dataclass(frozen=True, slots=True)
class Excess:
    """How much too much: so many times the peak, for so many seconds."""

    factor: float
    lasts_s: float


def lasts_s(options: Options, excess: Excess) -> float:
    """About how long it takes in all; how many steps the ladder takes is not known before."""
    return len(options.classes) * (STACK_S + 7 * (STEP_S + 4.0) + BEFORE_S + excess.lasts_s + AFTER_S + 15.0)


def run(options: Options, excess: Excess, say: Callable[[str], None]) -> Iterator[Overload]:
    """Overload a stack of each class; yields what was seen. options.rate_per_s: the first step of the ladder."""
    for worker_class in options.classes:
        say(f"{worker_class}: starting a stack of its own ...")
        with stack_for(options, worker_class) as stack:
            ready(stack)
            yield _overload(stack, options, excess, worker_class, say)


def _overload(stack: ComposeStack, options: Options, excess: Excess, worker_class: str, say: Callable[[str], None]) -> Overload:
    url, cpus = gateway_address(stack), keep_apart(stack)

    def load(rate_per_s: float, seed: int = 1) -> Load:
        return Load(url, rate_per_s=rate_per_s, mix=MIX, seed=seed, cpus=cpus)

    started_s, stolen_s = time.monotonic(), steal_s()
    ladder = list(_ladder(load, options.rate_per_s, say))
    peak_per_s = max(_in_time(step) for _, step in ladder)
    say(f"    {excess.factor:g} times the peak, {excess.factor * peak_per_s:.0f}/s, for {excess.lasts_s:g} s ...")
    with load(CALM * peak_per_s) as calm:
        let_run(BEFORE_S)
        with load((excess.factor - CALM) * peak_per_s, seed=2) as many:
            let_run(excess.lasts_s)
        let_run(AFTER_S)
    ready(stack)
    event = Event("overload", f"{excess.factor:g} times the peak", "what cannot be answered in time, with 503", lambda _: None)
    return Overload(
        **options.facts(worker_class, event),
        began_s=many.result().started_s,
        ended_s=many.result().stopped_s,
        **outcome(stack, [calm.result(), many.result()]),
        factor=excess.factor,
        ladder=ladder,
        memory=memory(stack),
        steal_share=share_of_all(steal_s() - stolen_s, time.monotonic() - started_s),
    )


def _ladder(load: Callable[[float], Load], rate_per_s: float, say: Callable[[str], None]) -> Iterator[tuple[float, LoadResult]]:
    short = 0
    while rate_per_s <= HIGHEST_PER_S and short < SHORT_STEPS:
        with load(rate_per_s) as step:
            let_run(STEP_S)
        answered_per_s = _in_time(step.result())
        say(f"    {rate_per_s:.0f}/s asked, {answered_per_s:.0f}/s answered in time")
        yield rate_per_s, step.result()
        short = short + 1 if answered_per_s < ENOUGH * rate_per_s else 0
        rate_per_s *= STEP


def _in_time(seen: LoadResult) -> float:
    """Return what decides about the next step: answers in time, per second."""
    return goodput(seen.requests, seen.started_s, seen.stopped_s)


def memory(stack: ComposeStack) -> dict[str, tuple[int, int]]:
    """Return for each service the most that one of its containers ever held, and its limit, in bytes (files in memory count)."""
    found = {}
    for service in MEASURED_SERVICES:
        readings = [docker("exec", unit.id, "sh", "-c", _MEMORY).split() for unit in stack.units(service)]
        if readings:  # the firewall may be off
            found[service] = max((int(most), int(limit)) for most, limit in readings)
    return found
