"""Overload: the most that a stack answers in time, and what is left of it under three times as many requests."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from loadtest.machine import share_of_all, steal_s
from tools.reliability.faults import MIX
from tools.reliability.ledger import reconcile, stored_writes
from tools.reliability.load import Load, Outcome, Request
from tools.reliability.observe import STACK_S, Book, Record, Wish, as_json, let_run, ready, stack_for, way_in
from tools.reliability.report import charts, render
from tools.reliability.timeline import SLOW_S, effect, p99, seconds
from tools.stack.compose import ComposeStack, docker
from tools.stack.machine import processors_apart

# The ladder to the peak: from the first rate up, each step for so long, until on two steps in a row less than this share of what is
# asked is answered in time. On one alone it may be the machine, or workers that are not warm yet.
STEP, STEP_S = 1.4, 8.0
ENOUGH, SHORT_STEPS = 0.8, 2
HIGHEST_PER_S = 2000.0
# Who comes before, during and after the overload, of the peak: a normal day, whose end of trouble is the recovery.
CALM = 0.3
BEFORE_S, AFTER_S = 5.0, 12.0
# What is promised: of the peak, and in seconds after the end.
HOLDS_SHARE, RECOVERS_S = 0.8, 5.0
MEASURED_SERVICES = ("gateway", "app", "database")
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


@dataclass(frozen=True, slots=True)
class Rung:
    """One step of the ladder: requests a second that were due, and right answers in time."""

    rate_per_s: float
    goodput_per_s: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the overload did. Rates in requests a second; goodput: right answers within SLOW_S of when they were due."""

    peak_per_s: float
    offered_per_s: float
    goodput_per_s: float
    refused: dict[str, int]  # "status 503" -> count
    refused_median_s: float
    refused_p99_s: float
    slowest_right_s: float
    recovery_s: float  # from the end of the overload until the last trouble of those who came afterwards
    asked_afterwards: int

    @property
    def share(self) -> float:
        """Part of the peak that was left."""
        return self.goodput_per_s / self.peak_per_s

    @property
    def holds(self) -> bool:
        """Whether it is what the kit promises; with nobody afterwards nobody knows."""
        early = set(self.refused) <= {"status 503", "status 429"}
        return early and self.share >= HOLDS_SHARE and self.recovery_s <= RECOVERS_S and self.asked_afterwards > 0

    def __str__(self) -> str:
        refused = ", ".join(f"{count} {kind}" for kind, count in self.refused.items()) or "nothing"
        return (
            f"peak {self.peak_per_s:.0f}/s; of {self.offered_per_s:.0f}/s then {self.goodput_per_s:.0f}/s were answered in time, "
            f"{self.share:.0%} of the peak; refused: {refused} (median {self.refused_median_s * 1e3:.0f} ms, p99 "
            f"{self.refused_p99_s * 1e3:.0f} ms); slowest right answer {self.slowest_right_s:.1f} s; "
            f"back to normal {self.recovery_s:.1f} s after the end"
        )


def in_time(request: Request) -> bool:
    """Say whether it was the right answer, and not too late to be of use."""
    return not request.error and request.ended_s - request.due_s <= SLOW_S


def goodput(requests: Sequence[Request], start_s: float, end_s: float) -> float:
    """Return the answers in time, per second, to what was due from start to end (monotonic seconds)."""
    return sum(in_time(request) for request in requests if start_s <= request.due_s < end_s) / (end_s - start_s)


def judge(requests: Sequence[Request], peak_per_s: float, start_s: float, end_s: float) -> Verdict:
    """Work out what an overload from start to end (monotonic seconds) did."""
    during = [request for request in requests if start_s <= request.due_s < end_s]
    failed = [request for request in during if request.error]
    waits_s = sorted(request.ended_s - request.due_s for request in failed)
    afterwards = [request for request in requests if request.due_s >= end_s]
    troubles_s = [request.due_s - end_s for request in afterwards if not in_time(request)]
    return Verdict(
        peak_per_s=peak_per_s,
        offered_per_s=len(during) / (end_s - start_s),
        goodput_per_s=goodput(during, start_s, end_s),
        refused=dict(Counter(request.error for request in failed).most_common()),
        refused_median_s=waits_s[len(waits_s) // 2] if waits_s else math.nan,
        refused_p99_s=p99(waits_s),
        slowest_right_s=max((request.ended_s - request.due_s for request in during if not request.error), default=math.nan),
        recovery_s=max(troubles_s, default=0.0),
        asked_afterwards=len(afterwards),
    )


def lasts_s(wish: Wish, excess: Excess) -> float:
    """About how long it takes in all; how many steps the ladder has nobody knows before."""
    return len(wish.classes) * (STACK_S + 7 * (STEP_S + 4.0) + BEFORE_S + excess.lasts_s + AFTER_S + 15.0)


def run(wish: Wish, excess: Excess, folder: Path, machine: str, say: Callable[[str], None]) -> list[Record]:
    """Overload a stack of each class. Returns the records of the folder: those that it held, of other classes, and these.

    wish.rate_per_s: the first step of the ladder.
    """
    book = Book(folder / "overload.json")
    for worker_class in wish.classes:
        say(f"{worker_class}: starting a stack of its own ...")
        with stack_for(wish, worker_class) as stack:
            ready(stack)
            aim, began_s, stolen_s = Aim(way_in(stack), keep_apart(stack)), time.monotonic(), steal_s()
            rungs = list(_ladder(aim, wish.rate_per_s, folder, say))
            peak_per_s = max(rung.goodput_per_s for rung in rungs)
            say(f"    {excess.factor:g} times the peak, {excess.factor * peak_per_s:.0f}/s, for {excess.lasts_s:g} s ...")
            record = {
                "worker_class": worker_class,
                "rate_per_s": excess.factor * peak_per_s,
                "max_in_work": wish.max_in_work,
                "command": wish.command,
                "machine": machine,
                "ladder": [asdict(rung) for rung in rungs],
                **overload(stack, aim, peak_per_s, excess, folder),
            }
            record["steal_share"] = share_of_all(steal_s() - stolen_s, time.monotonic() - began_s)
        book.add(record)
        say(f"    {record['said']}; {record['steal_share']:.0%} of the time was taken by other guests of the host")
    return book.records


@dataclass(frozen=True, slots=True)
class Aim:
    """Where the load goes, and the processors of the generator (empty: any)."""

    url: str
    cpus: Sequence[int]


def keep_apart(stack: ComposeStack) -> list[int]:
    """Keep a stack off the last processor, and return that one, for the generator; [], where there is one only or nobody can choose.

    Each refusal costs the client a connection too. On processors that both use, what is left of the site would be what the client
    leaves it.
    """
    site, generator = processors_apart()
    if not generator or not hasattr(psutil.Process, "cpu_affinity"):
        return []
    docker("update", "--cpuset-cpus", ",".join(map(str, site)), *(unit.id for unit in stack.processes()))
    return generator


def _ladder(aim: Aim, first_per_s: float, folder: Path, say: Callable[[str], None]) -> Iterator[Rung]:
    rate_per_s, short = first_per_s, 0
    while rate_per_s <= HIGHEST_PER_S and short < SHORT_STEPS:
        with Load(aim.url, folder, rate_per_s=rate_per_s, mix=MIX, cpus=aim.cpus) as load:
            let_run(STEP_S)
        seen = load.result()
        rung = Rung(rate_per_s, goodput(seen.requests, seen.started_s, seen.stopped_s))
        say(f"    {rung.rate_per_s:.0f}/s asked, {rung.goodput_per_s:.0f}/s answered in time")
        yield rung
        short = short + 1 if rung.goodput_per_s < ENOUGH * rate_per_s else 0
        rate_per_s *= STEP


def overload(stack: ComposeStack, aim: Aim, peak_per_s: float, excess: Excess, folder: Path) -> Record:
    """Offer too much for a while, among visitors of a normal day; return what it did, as JSON values."""
    with Load(aim.url, folder, rate_per_s=CALM * peak_per_s, mix=MIX, cpus=aim.cpus) as calm:
        let_run(BEFORE_S)
        with Load(aim.url, folder, rate_per_s=(excess.factor - CALM) * peak_per_s, mix=MIX, seed=2, cpus=aim.cpus) as many:
            let_run(excess.lasts_s)
        let_run(AFTER_S)
    ready(stack)
    normal, extra = calm.result(), many.result()
    balance = reconcile([*normal.writes, *extra.writes], stored_writes(stack))
    requests = [*normal.requests, *extra.requests]
    verdict = judge(requests, peak_per_s, extra.started_s, extra.stopped_s)
    return {
        "event": "overload",
        "title": f"{excess.factor:g} times the peak",
        "expect": "what cannot be answered in time, with 503",
        "began_s": extra.started_s - normal.started_s,
        "ended_s": extra.stopped_s - normal.started_s,
        "seconds": [asdict(second, dict_factory=as_json) for second in seconds(requests, normal.started_s, normal.stopped_s)],
        "effect": asdict(effect(requests, extra.started_s), dict_factory=as_json),
        "verdict": {**asdict(verdict, dict_factory=as_json), "share": verdict.share, "holds": verdict.holds},
        "ledger": {**asdict(balance), "holds": balance.holds},
        "memory": memory(stack),
        "dropped": _dropped(normal, extra),
        "operator": [],
        "answers": [],
        "said": f"{verdict}; {'ledger holds' if balance.holds else f'LEDGER BROKEN: {balance}'}",
    }


def _dropped(*outcomes: Outcome) -> int:
    return sum(outcome.dropped for outcome in outcomes)


def memory(stack: ComposeStack) -> dict[str, dict[str, int]]:
    """Return the most that a container of each service ever held, and its limit, in bytes (files in memory count)."""
    found = {}
    for service in MEASURED_SERVICES:
        readings = [docker("exec", unit.id, "sh", "-c", _MEMORY).split() for unit in stack.units(service)]
        most, limit = max((int(most), int(limit)) for most, limit in readings)
        found[service] = {"peak_bytes": most, "limit_bytes": limit}
    return found


def broken(records: Sequence[Record]) -> list[str]:
    """Say which promises were not kept."""
    kept = [record for record in records if record["verdict"]["holds"] and record["ledger"]["holds"]]
    return [f"{record['worker_class']}: {record['said']}" for record in records if record not in kept]


def write(records: Sequence[Record], folder: Path) -> list[Path]:
    """Write overload.html and overload.md to `folder` and return their paths."""
    drawn = [(record, charts(record)) for record in records]
    return render("overload", folder / "overload", drawn, title="Overload", kind="overload", slow_s=SLOW_S)
