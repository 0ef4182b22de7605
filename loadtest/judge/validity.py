"""When a slice is not believed: pure, from what was read while it ran. Each reason is data; report/words.py says it."""

import math
from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from loadtest.records.model import Limits, Workload
from loadtest.records.slices import Slice

# Arrivals of a Poisson process are fewer than expected by so many standard deviations once in 30,000 slices.
POISSON = 4.0
# So many of the requests may be sent late: one stall of the machine, of a tenth of a slice. It meets every candidate's slices alike; a
# generator that is slow itself is late with nearly all.
LATE_SHARE = 0.1
# A gateway's answer for a server that did not give one: in a comparison it must not pass for the server's own.
GATEWAY_ERRORS = {"status 502", "status 503", "status 504"}


class Gate(StrEnum):
    """What can make a slice unbelievable."""

    GENERATOR_CPU = "generator-cpu"
    GENERATOR_LATE = "generator-late"
    GENERATOR_BEHIND = "generator-behind"
    GENERATOR_FAILED = "generator-failed"
    STEAL = "steal"
    OTHERS = "others"
    IDLE_CANDIDATES = "idle-candidates"
    GATEWAY_CPU = "gateway-cpu"
    THROTTLED = "throttled"
    GATEWAY_ERRORS = "gateway-errors"


class Problem(NamedTuple):
    """A gate that a slice did not pass: what was read, and the limit."""

    gate: Gate
    value: float
    limit: float = 0.0
    detail: str = ""


def problems(one: Slice, workload: Workload, limits: Limits, *, calm: bool) -> tuple[Problem, ...]:
    """Return why a slice is not believed; empty when it is. `calm`: the server held the objective at higher rates."""
    return (*_generator(one, workload, limits), *_machine(one, limits, calm=calm), *(_gateway_errors(one) if calm else ()))


def fewest_due(expected: float) -> float:
    """Return how many arrivals there are at least where so many are expected."""
    return max(expected - POISSON * math.sqrt(expected) - 1, 0.0)


def _generator(one: Slice, workload: Workload, limits: Limits) -> Iterator[Problem]:
    seen, due = one.recording, one.rate_per_s * one.duration_s
    busy = _cores(one.generator.cpu_ns, one)
    if busy is not None and busy > limits.generator_cpu_share:
        yield Problem(Gate.GENERATOR_CPU, busy, limits.generator_cpu_share)
    limit_ms = limits.slip_share_of_slo * workload.slo_ms
    late = seen.slip.share_above_ms(limit_ms)
    if late > LATE_SHARE and late * seen.slip.count > 1.5:  # noqa: PLR2004 - two of them: one can happen to anybody
        yield Problem(Gate.GENERATOR_LATE, late, LATE_SHARE, f"{limit_ms:g} ms")
    if seen.offered < fewest_due(due):
        yield Problem(Gate.GENERATOR_BEHIND, seen.offered, due)
    own = sorted(kind for kind in seen.errors if kind.startswith("generator"))
    if own:
        yield Problem(Gate.GENERATOR_FAILED, sum(seen.errors[kind] for kind in own), detail=", ".join(own))


def _machine(one: Slice, limits: Limits, *, calm: bool) -> Iterator[Problem]:
    for gate, share, limit in (
        (Gate.STEAL, one.steal_share, limits.steal_share),
        (Gate.OTHERS, one.others_cpu_share, limits.others_cpu_share),
        (Gate.IDLE_CANDIDATES, _cores(one.idle_cpu_ns, one), limits.idle_cpu_share),
        (Gate.GATEWAY_CPU, _cores(one.gateway.cpu_ns, one), limits.gateway_cpu_share),
        (Gate.THROTTLED, _cores(one.server.throttled_ns, one) if calm else None, limits.throttled_share),
    ):
        if share is not None and share > limit:
            yield Problem(gate, share, limit)


def _cores(used_ns: int | None, one: Slice) -> float | None:
    return None if used_ns is None else used_ns / 1e9 / one.duration_s


def _gateway_errors(one: Slice) -> Iterator[Problem]:
    """The gateway's own answers: above the knee they are a result, below they say that something else is broken."""
    found = {kind: n for kind, n in sorted(one.recording.errors.items()) if kind in GATEWAY_ERRORS}
    if found:
        yield Problem(Gate.GATEWAY_ERRORS, sum(found.values()), detail=", ".join(f"{kind} x {n}" for kind, n in found.items()))
