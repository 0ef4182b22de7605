"""What one fault did, second by second, worked out of the requests; pure, so that it is tested without a stack."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tools.reliability.load import Request

# A visitor who waits longer than this notices.
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
    """What became of the requests around one fault. Moments in seconds after the fault began; None: nothing failed."""

    requests: int
    failed: dict[str, int]  # "POST status 502" -> count
    first_failure_s: float | None
    last_failure_s: float | None
    slow: int  # took longer than SLOW_S, and came to a right end
    slowest_s: float
    p99_before_s: float
    p99_during_s: float


def seconds(requests: Sequence[Request], start_s: float, end_s: float) -> list[Second]:
    """Return every second from start to end (monotonic), the present ones of an idle server too."""
    slots: list[list[Request]] = [[] for _ in range(math.ceil(end_s - start_s))]
    for request in requests:
        if start_s <= request.due_s < end_s:
            slots[int(request.due_s - start_s)].append(request)
    return [
        Second(
            number,
            sum(not request.error for request in slot),
            dict(Counter(request.error for request in slot if request.error)),
            p99([request.ended_s - request.due_s for request in slot]),
        )
        for number, slot in enumerate(slots)
    ]


def p99(latencies_s: Sequence[float]) -> float:
    """Return the 99th percentile (nearest rank), NaN of nothing."""
    if not latencies_s:
        return math.nan
    return sorted(latencies_s)[math.ceil(0.99 * len(latencies_s)) - 1]


def effect(requests: Sequence[Request], began_s: float) -> Effect:
    """Sum up what happened around a fault that began at `began_s` (monotonic)."""
    failed = [request for request in requests if request.error]
    moments = [request.due_s - began_s for request in failed]
    before = [request.ended_s - request.due_s for request in requests if request.ended_s < began_s]
    during = [request.ended_s - request.due_s for request in requests if request.ended_s >= began_s]
    return Effect(
        requests=len(requests),
        failed=dict(Counter(f"{request.name} {request.error}" for request in failed).most_common()),
        first_failure_s=min(moments, default=None),
        last_failure_s=max(moments, default=None),
        slow=sum(request.ended_s - request.due_s > SLOW_S for request in requests if not request.error),
        slowest_s=max(during, default=math.nan),
        p99_before_s=p99(before),
        p99_during_s=p99(during),
    )
