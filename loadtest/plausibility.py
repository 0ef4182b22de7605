"""Figures that contradict theory, and servers that are set against their purpose: shown, whatever the verdict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from loadtest.knee import Outcome
from loadtest.recorder import ALL
from loadtest.records import Candidate, Cell, Manifest, Step, Workload
from loadtest.scaling import better_than_linear

# Little's law holds exactly over a long time; a sampled mean over seconds is off by less than this.
LITTLE_TOLERANCE = 0.2
FEWEST_IN_FLIGHT = 1.0  # below, sampling says little
BOUND_TOLERANCE = 1.05
# A database in the server's own process does not wait for anybody, so no driver could wait better.
IN_PROCESS = {"pysqlite"}


def contradictions(workload: Workload, cells: Sequence[Cell], manifest: Manifest) -> Iterator[str]:
    """Yield a sentence for each candidate and law that its figures break."""
    for candidate in manifest.candidates:
        steps = [
            step for cell in cells if cell.candidate == candidate.name and not cell.invalid for step in cell.steps if not step.problems
        ]
        outcomes = [Outcome(step, workload) for step in steps]
        steady = [outcome for outcome in outcomes if outcome.step.purpose == "closed" or outcome.holds(manifest.limits)]
        yield from _capacity(workload, candidate, steady)
        yield from _little(workload, candidate, steady)
        yield from _linear(candidate, outcomes)


def _capacity(workload: Workload, candidate: Candidate, outcomes: list[Outcome]) -> Iterator[str]:
    """No more right answers than the slots have time for. The time ends when the last visit that was due met its objective."""
    if not candidate.slots or not workload.service_ms:
        return
    for outcome in outcomes:
        time_s = outcome.step.duration_s + (workload.slo_ms / 1e3 if outcome.step.purpose != "closed" else 0.0)
        bound = candidate.slots * time_s * 1e3 / workload.service_ms
        answers = outcome.recording.series[ALL].latency.count
        if answers > bound * BOUND_TOLERANCE:
            yield (
                f"{candidate.name} gave {answers} answers in {time_s:.1f} s, but {candidate.slots} slots and {workload.service_ms:g} ms "
                f"each allow {bound:.0f}: the work was not done, or the number of slots is wrong"
            )
            return


def _little(workload: Workload, candidate: Candidate, outcomes: list[Outcome]) -> Iterator[str]:
    """Visitors in the system = rate x time in it. Only for single requests: the pauses of a visit are not recorded.

    The law is about a steady state. Above the knee the queue grows as long as the step lasts, and most of the waiting is
    done after it. A step also has two ends, at which visitors are counted whose time is not, or the other way round: no more
    than came within the longest time (max), each for half of it on average, which is much after a stall.
    """
    for outcome in outcomes:
        everything = outcome.recording.series[ALL]
        if workload.name == "journey" or outcome.failures or outcome.step.in_flight_mean < FEWEST_IN_FLIGHT:
            continue
        expected = outcome.goodput_per_s * everything.service.mean_ms / 1e3
        longest_s = everything.latency.quantile_ms(1.0) / 1e3
        # In a closed step as many come as are answered.
        come_per_s = outcome.step.rate_per_s or outcome.goodput_per_s
        at_the_ends = come_per_s * longest_s**2 / outcome.step.duration_s
        allowed = LITTLE_TOLERANCE * outcome.step.in_flight_mean + FEWEST_IN_FLIGHT + at_the_ends
        if abs(expected - outcome.step.in_flight_mean) > allowed:
            asked = f"at {outcome.step.rate_per_s:.0f}/s" if outcome.step.rate_per_s else f"with {outcome.step.users} visitors"
            yield (
                f"{candidate.name} {asked}: {outcome.step.in_flight_mean:.1f} visitors on their way, "
                f"Little's law expects {expected:.1f}; one of the two measurements is wrong"
            )
            return


def ladder(outcomes: Iterable[Outcome]) -> dict[int, float]:
    """Return visitors without a pause -> right answers a second, from the believed steps of the closed model."""
    return {o.step.users: o.goodput_per_s for o in outcomes if o.step.purpose == "closed" and not o.step.problems}


def _linear(candidate: Candidate, outcomes: list[Outcome]) -> Iterator[str]:
    climbed = ladder(outcomes)
    if found := better_than_linear(climbed):
        fewer, more = found
        yield (
            f"{candidate.name} went from {climbed[fewer]:.0f}/s with {fewer} visitors to {climbed[more]:.0f}/s with {more}: "
            "more than in proportion, which no queue can do; something else changed between the two"
        )


def misdeployments(workload: Workload, cells: Sequence[Cell], manifest: Manifest) -> Iterator[str]:
    """Yield a sentence for each setting that makes a candidate worse than it need be."""
    for candidate in manifest.candidates:
        for cell in (cell for cell in cells if cell.candidate == candidate.name):
            yield from _of_proof(candidate, cell)
            for step in cell.steps:
                yield from _timeout(workload, candidate, cell, step)


def _of_proof(candidate: Candidate, cell: Cell) -> Iterator[str]:
    proof = cell.proof
    driver = proof.get("database_driver") or {}
    if proof.get("gevent_patched") and driver and driver.get("cooperative") is False and driver.get("name") not in IN_PROCESS:
        yield f"{candidate.name}: the database driver {driver.get('name')} blocks, so one query stops all greenlets of its process"
    slots, pool = proof.get("slots_per_process"), proof.get("database_pool_size")
    if slots and pool and slots > pool:
        yield f"{candidate.name}: {slots} requests at once in a process share {pool} database connections; the others wait for one"
    if slots == 1 and proof.get("gateway_buffers") is False:
        yield f"{candidate.name}: nothing buffers in front of it, so each slow client holds a whole process"


def _timeout(workload: Workload, candidate: Candidate, cell: Cell, step: Step) -> Iterator[str]:
    timeout_s = cell.proof.get("timeout_s")
    if timeout_s and (p99_ms := Outcome(step, workload).p99_ms) > timeout_s * 1e3:
        yield f"{candidate.name}: the p99 of {p99_ms / 1e3:.1f} s is above its timeout of {timeout_s:g} s: it kills what it works on"
