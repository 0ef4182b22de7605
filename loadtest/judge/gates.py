"""When a step is not believed: pure, from what was read while it ran. Each reason is data; report/words.py says it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from loadtest.records.model import Limits, Step, Workload

# Below this load nothing should make a quota bite or a gateway answer in the server's place; at the knee and above it may.
CALM_LOAD = 0.9
# Arrivals of a Poisson process are fewer than expected by so many standard deviations once in 30,000 steps.
POISSON = 4.0
# A gateway's answer for a server that did not give one: in a comparison it must not pass for the server's own.
GATEWAY_ERRORS = {"status 502", "status 503", "status 504"}


class Gate(StrEnum):
    """What can make a step unbelievable."""

    GENERATOR_CPU = "generator-cpu"
    GENERATOR_LATE = "generator-late"
    GENERATOR_BEHIND = "generator-behind"
    GENERATOR_FAILED = "generator-failed"
    STEAL = "steal"
    OTHERS = "others"
    GATEWAY_CPU = "gateway-cpu"
    THROTTLED = "throttled"
    GATEWAY_ERRORS = "gateway-errors"


class Problem(NamedTuple):
    """A gate that a step did not pass: what was read, and the limit."""

    gate: Gate
    value: float
    limit: float = 0.0
    detail: str = ""


def problems(step: Step, workload: Workload, limits: Limits) -> tuple[Problem, ...]:
    """Return why a step is not believed; empty when it is."""
    return (*_generator(step, workload, limits), *_machine(step, limits), *_gateway_errors(step))


def fewest_due(expected: float) -> float:
    """Return how many arrivals there are at least where so many are expected."""
    return max(expected - POISSON * math.sqrt(expected) - 1, 0.0)


def _generator(step: Step, workload: Workload, limits: Limits) -> Iterator[Problem]:
    seen, due = step.recording, step.rate_per_s * step.duration_s
    if step.generator_cpu_share > limits.generator_cpu_share:
        yield Problem(Gate.GENERATOR_CPU, step.generator_cpu_share, limits.generator_cpu_share)
    late_ms, limit_ms = seen.slip.quantile_ms(0.99), limits.slip_share_of_slo * workload.slo_ms
    if late_ms > limit_ms:
        yield Problem(Gate.GENERATOR_LATE, late_ms, limit_ms)
    if seen.offered < fewest_due(due):
        yield Problem(Gate.GENERATOR_BEHIND, seen.offered, due)
    own = sorted(kind for kind in seen.errors if kind.startswith("generator"))
    if own:
        yield Problem(Gate.GENERATOR_FAILED, sum(seen.errors[kind] for kind in own), detail=", ".join(own))


def _machine(step: Step, limits: Limits) -> Iterator[Problem]:
    gateway, throttled = ((used or 0.0) / step.duration_s for used in (step.gateway.cpu_s, step.server.throttled_s))
    calm = step.load is not None and step.load < CALM_LOAD
    for gate, share, limit in (
        (Gate.STEAL, step.steal_share, limits.steal_share),
        (Gate.OTHERS, step.others_cpu_share, limits.others_cpu_share),
        (Gate.GATEWAY_CPU, gateway, limits.gateway_cpu_share),
        (Gate.THROTTLED, throttled if calm else None, limits.throttled_share),
    ):
        if share is not None and share > limit:
            yield Problem(gate, share, limit)


def _gateway_errors(step: Step) -> Iterator[Problem]:
    """The gateway's own answers: above the knee they are a result, below they say that something else is broken."""
    found = {kind: n for kind, n in sorted(step.recording.errors.items()) if kind in GATEWAY_ERRORS}
    if found and step.load is not None and step.load <= CALM_LOAD:
        yield Problem(Gate.GATEWAY_ERRORS, sum(found.values()), detail=", ".join(f"{kind} x {n}" for kind, n in found.items()))
