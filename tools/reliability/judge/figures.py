"""The figures of one record, and whether what is promised was kept."""

import math
from dataclasses import dataclass
from functools import cached_property

from tools.reliability.judge.growth import GROWS, Drift, drifts, leaks
from tools.reliability.judge.ledger import Balance, reconcile
from tools.reliability.judge.timeline import Effect, effect, goodput, p99, waits_s
from tools.reliability.records import Observation, Request


@dataclass(frozen=True)
class EventFigures:
    """What became of the requests and writes of an event, and of what its containers hold."""

    record: Observation

    @cached_property
    def requests(self) -> list[Request]:
        """All of them, of all loads."""
        return [request for load in self.record.loads for request in load.requests]

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
    def in_time_per_s(self) -> float:
        """Right answers in time to what was due during the event, per second; NaN for one that is over at once."""
        began_s, ended_s = self.record.began_s, self.record.ended_s
        return goodput(self.requests, began_s, ended_s) if ended_s - began_s >= 1 else math.nan

    @property
    def failed_after_s(self) -> tuple[float, float]:
        """Median and p99 of the time until a failure."""
        waited_s = sorted(waits_s([request for request in self.requests if request.error]))
        return waited_s[len(waited_s) // 2] if waited_s else math.nan, p99(waited_s)

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
    def kept(self) -> bool:
        return self.balance.holds and not self.leaks and not self.grown and (self.flawless or not self.record.promised)
