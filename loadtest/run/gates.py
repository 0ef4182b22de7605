"""When a step is not believed: pure, from what was read while it ran."""

from __future__ import annotations

import math
from collections.abc import Iterator

from loadtest.recorder import Recording
from loadtest.records import Limits, Step, Workload

# Below this load nothing should make a quota bite or a gateway answer in the server's place; at the knee and above it may.
CALM_LOAD = 0.9
# Arrivals of a Poisson process are fewer than expected by so many standard deviations once in 30,000 steps.
POISSON = 4.0
# A gateway's answer for a server that did not give one: in a comparison it must not pass for the server's own.
GATEWAY_ERRORS = {"status 502", "status 503", "status 504"}


def problems(step: Step, workload: Workload, limits: Limits) -> tuple[str, ...]:
    """Return why a step is not believed, each in a phrase; empty when it is."""
    return (*_generator(step, workload, limits), *_machine(step, limits), *_stand_ins(step))


def fewest_due(expected: float) -> float:
    """Return how many arrivals there are at least where so many are expected."""
    return max(expected - POISSON * math.sqrt(expected) - 1, 0.0)


def _generator(step: Step, workload: Workload, limits: Limits) -> Iterator[str]:
    if step.generator_cpu_share > limits.generator_cpu_share:
        yield f"the generator used {step.generator_cpu_share:.0%} of a core (limit {limits.generator_cpu_share:.0%})"
    recording = Recording.from_json(step.recording)
    slip_ms, limit_ms = recording.slip.quantile_ms(0.99), limits.slip_share_of_slo * workload.slo_ms
    if slip_ms > limit_ms:
        yield f"the generator sent {slip_ms:.1f} ms late (p99, limit {limit_ms:g} ms)"
    due = step.rate_per_s * step.duration_s
    if recording.offered < fewest_due(due):
        yield f"the generator got round to {recording.offered} of about {due:.0f} visitors"
    own = {kind for kind in recording.errors if kind.startswith("generator")}
    if own:
        yield f"the generator failed: {', '.join(sorted(own))}"


def _machine(step: Step, limits: Limits) -> Iterator[str]:
    if step.steal_share is not None and step.steal_share > limits.steal_share:
        yield f"the host took {step.steal_share:.1%} of the processors (limit {limits.steal_share:.0%})"
    if step.others_cpu_share is not None and step.others_cpu_share > limits.others_cpu_share:
        yield f"other programs used {step.others_cpu_share:.2f} cores (limit {limits.others_cpu_share:g})"
    if step.gateway.cpu_s is not None and step.gateway.cpu_s / step.duration_s > limits.gateway_cpu_share:
        yield f"the gateway used {step.gateway.cpu_s / step.duration_s:.0%} of a core (limit {limits.gateway_cpu_share:.0%})"
    throttled = (step.server.throttled_s or 0.0) / step.duration_s
    if step.load is not None and step.load < CALM_LOAD and throttled > limits.throttled_share:
        yield f"a quota stopped the server for {throttled:.1%} of the time (limit {limits.throttled_share:.0%})"


def _stand_ins(step: Step) -> Iterator[str]:
    """The gateway's own answers: above the knee they are a result, below they say that something else is broken."""
    if step.load is None or step.load > CALM_LOAD:
        return
    stood_in = {kind: n for kind, n in Recording.from_json(step.recording).errors.items() if kind in GATEWAY_ERRORS}
    if stood_in:
        yield f"the gateway answered in the server's place ({', '.join(f'{kind} x {n}' for kind, n in sorted(stood_in.items()))})"
