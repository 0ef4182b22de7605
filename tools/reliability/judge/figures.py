"""The figures of one record, and whether what is promised was kept."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import cached_property

from tools.reliability.judge.growth import GROWS, Drift, drifts, leaks
from tools.reliability.judge.ledger import Balance, reconcile
from tools.reliability.judge.timeline import Effect, effect, goodput, in_time, p99, waits_s
from tools.reliability.records import Observation, Overload, Request, Sample, Soak

# What an overload promises: of the peak, and in seconds after the end; and how it may refuse.
HOLDS_SHARE, RECOVERS_S, REFUSALS = 0.8, 5.0, {"status 503", "status 429"}
# Of each service the most that one container held of these is reported.
SHOWN = ("memory_bytes", "anonymous_bytes", "processes", "files", "sockets", "connections", "temp_bytes", "log_bytes")


@dataclass(frozen=True)
class EventFigures:
    """What became of the requests and writes of an event."""

    record: Observation

    @cached_property
    def requests(self) -> list[Request]:
        return self.record.requests

    @cached_property
    def balance(self) -> Balance:
        return reconcile([write for load in self.record.loads for write in load.writes], self.record.stored)

    @cached_property
    def effect(self) -> Effect:
        return effect(self.requests, self.record.began_s)

    @property
    def failed(self) -> int:
        return sum(self.effect.failed.values())

    @property
    def flawless(self) -> bool:
        """Whether no request failed, and none was not even sent."""
        return not self.effect.failed and not self.record.dropped

    @property
    def kept(self) -> bool:
        return self.balance.holds and (self.flawless or not self.record.promised)


@dataclass(frozen=True)
class OverloadFigures(EventFigures):
    """Rates in requests a second; goodput: right answers in time."""

    record: Overload

    @cached_property
    def ladder(self) -> list[tuple[float, float]]:
        """(asked, answered in time) of each step."""
        return [(rate, goodput(load.requests, load.started_s, load.stopped_s)) for rate, load in self.record.ladder]

    @cached_property
    def peak_per_s(self) -> float:
        return max(answered for _, answered in self.ladder)

    @cached_property
    def during(self) -> list[Request]:
        return [request for request in self.requests if self.record.began_s <= request.due_s < self.record.ended_s]

    @property
    def offered_per_s(self) -> float:
        return len(self.during) / (self.record.ended_s - self.record.began_s)

    @cached_property
    def goodput_per_s(self) -> float:
        return goodput(self.during, self.record.began_s, self.record.ended_s)

    @property
    def share(self) -> float:
        """Part of the peak that was left."""
        return self.goodput_per_s / self.peak_per_s

    @cached_property
    def refused(self) -> dict[str, int]:
        return dict(Counter(request.error for request in self.during if request.error).most_common())

    @cached_property
    def refused_after_s(self) -> tuple[float, float]:
        """Median and p99 of the time until a refusal."""
        waited_s = sorted(waits_s([request for request in self.during if request.error]))
        return waited_s[len(waited_s) // 2] if waited_s else math.nan, p99(waited_s)

    @property
    def slowest_right_s(self) -> float:
        return max(waits_s([request for request in self.during if not request.error]), default=math.nan)

    @cached_property
    def recovery_s(self) -> float:
        """From the end of the overload until the last failed or late request sent afterwards; infinite when none was sent."""
        afterwards = [request for request in self.requests if request.due_s >= self.record.ended_s]
        troubles_s = [request.due_s - self.record.ended_s for request in afterwards if not in_time(request)]
        return max(troubles_s, default=0.0) if afterwards else math.inf

    @property
    def kept(self) -> bool:
        return self.balance.holds and set(self.refused) <= REFUSALS and self.share >= HOLDS_SHARE and self.recovery_s <= RECOVERS_S


@dataclass(frozen=True)
class SoakFigures(EventFigures):
    """What a long time left and let grow."""

    record: Soak

    @cached_property
    def drifts(self) -> dict[str, Drift]:
        return drifts(self.record.samples)

    @property
    def grown(self) -> list[str]:
        return [service for service, line in self.drifts.items() if line.trend == GROWS]

    @property
    def leaks(self) -> list[tuple[str, str, int, int]]:
        return leaks(self.record.before, self.record.after)

    @property
    def most(self) -> dict[str, dict[str, int]]:
        """Of each service the most that one of its containers held of each thing."""
        services: dict[str, list[Sample]] = {}
        for sample in self.record.samples:
            services.setdefault(sample.service, []).append(sample)
        return {service: {name: max(getattr(one, name) for one in own) for name in SHOWN} for service, own in sorted(services.items())}

    @cached_property
    def lives(self) -> tuple[int, int]:
        """The app's containers, and the workers that took the place of another in the same container: at least so many."""
        pids: dict[str, set[int]] = {}
        at_once: Counter[str] = Counter()
        for sample in self.record.samples:
            if sample.service == "app":
                pids.setdefault(sample.container, set()).update(sample.pids)
                at_once[sample.container] = max(at_once[sample.container], sample.processes)
        return len(pids), sum(len(seen) - at_once[container] for container, seen in pids.items())

    @property
    def kept(self) -> bool:
        return self.balance.holds and self.flawless and not self.leaks and not self.grown and not self.record.problem


def figures(record: Observation) -> EventFigures:
    """Judge a record."""
    if isinstance(record, Overload):
        return OverloadFigures(record)
    return SoakFigures(record) if isinstance(record, Soak) else EventFigures(record)
