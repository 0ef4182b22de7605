"""What an event did, second by second, worked out of the requests."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tools.reliability.records import Request

# A visitor who waits longer than this notices; a right answer after it is too late to be of use.
SLOW_S = 2.0


@dataclass(frozen=True, slots=True)
class Second:
    """One second of the load, counted by when a request was due. `p99_s`: latency of all, failed ones too; NaN without any."""

    at_s: int
    right: int
    errors: dict[str, int]
    p99_s: float


@dataclass(frozen=True, slots=True)
class Effect:
    """What became of the requests around one event. Moments in seconds after it began; None: nothing failed."""

    requests: int
    failed: dict[str, int]  # "POST status 502" -> count
    first_failure_s: float | None
    last_failure_s: float | None
    slow: int  # took longer than SLOW_S, and came to a right end
    slowest_s: float
    p99_before_s: float
    p99_during_s: float


def seconds(requests: Sequence[Request], start_s: float, end_s: float) -> list[Second]:
    """Return every whole second from start to end (monotonic), the present ones of an idle server too.

    What is left of a second at the end is no second: it would look like a collapse.
    """
    slots: list[list[Request]] = [[] for _ in range(math.floor(end_s - start_s))]
    for request in requests:
        if start_s <= request.due_s < start_s + len(slots):
            slots[int(request.due_s - start_s)].append(request)
    return [
        Second(number, sum(not r.error for r in slot), dict(Counter(r.error for r in slot if r.error)), p99(waits_s(slot)))
        for number, slot in enumerate(slots)
    ]


def waits_s(requests: Sequence[Request]) -> list[float]:
    """Return how long each took, from when it was due."""
    return [request.ended_s - request.due_s for request in requests]


def p99(latencies_s: Sequence[float]) -> float:
    """Return the 99th percentile (nearest rank), NaN of nothing."""
    if not latencies_s:
        return math.nan
    return sorted(latencies_s)[math.ceil(0.99 * len(latencies_s)) - 1]


def effect(requests: Sequence[Request], began_s: float) -> Effect:
    """Sum up what happened around an event that began at `began_s` (monotonic)."""
    failed = [request for request in requests if request.error]
    moments = [request.due_s - began_s for request in failed]
    during = waits_s([request for request in requests if request.ended_s >= began_s])
    return Effect(
        requests=len(requests),
        failed=dict(Counter(f"{request.name} {request.error}" for request in failed).most_common()),
        first_failure_s=min(moments, default=None),
        last_failure_s=max(moments, default=None),
        slow=sum(wait_s > SLOW_S for wait_s in waits_s([request for request in requests if not request.error])),
        slowest_s=max(during, default=math.nan),
        p99_before_s=p99(waits_s([request for request in requests if request.ended_s < began_s])),
        p99_during_s=p99(during),
    )


def in_time(request: Request) -> bool:
    """Say whether it was the right answer, and not too late to be of use."""
    return not request.error and request.ended_s - request.due_s <= SLOW_S


def goodput(requests: Sequence[Request], start_s: float, end_s: float) -> float:
    """Return the answers in time, per second, to what was due from start to end (monotonic seconds)."""
    return sum(in_time(request) for request in requests if start_s <= request.due_s < end_s) / (end_s - start_s)
