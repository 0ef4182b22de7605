"""Figures that contradict theory, and servers that are set against their purpose: noted, whatever the verdict."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from loadtest.judge.steps import JudgedCell, JudgedStep
from loadtest.records.model import Candidate, Manifest, Workload

# Little's law holds exactly over a long time; a sampled mean over seconds is off by less than this.
LITTLE_TOLERANCE = 0.2
FEWEST_IN_FLIGHT = 1.0  # below, sampling says little
BOUND_TOLERANCE = 1.05
# A database in the server's own process never waits, so no driver could wait better.
IN_PROCESS = {"pysqlite"}


class NoteKind(StrEnum):
    """What a note is about."""

    CAPACITY = "more answers than the slots have time for"
    LITTLE = "Little's law"
    BLOCKING_DRIVER = "blocking driver"
    SMALL_POOL = "pool smaller than slots"
    NO_BUFFER = "no buffering gateway"
    TIMEOUT = "p99 above timeout"


class Note(NamedTuple):
    """Something odd about a candidate, with the figures that show it."""

    kind: NoteKind
    candidate: str
    facts: tuple[Any, ...] = ()


def notes(workload: Workload, cells: Sequence[JudgedCell], manifest: Manifest) -> tuple[Note, ...]:
    """Return a note for each candidate and law that its figures break, and for each setting that makes it worse than it need be."""
    found: list[Note] = []
    for candidate in manifest.candidates:
        own = [one for one in cells if one.cell.candidate == candidate.name]
        steady = [step for one in own if not one.invalid for step in one.sound if step.holds]
        found += (*_capacity(workload, candidate, steady), *_little(workload, candidate, steady))
        for one in own:
            found += (*_of_proof(candidate, one.cell.proof), *_timeout(candidate, one))
    return tuple(dict.fromkeys(found))


def _capacity(workload: Workload, candidate: Candidate, steps: list[JudgedStep]) -> Iterator[Note]:
    """No more right answers than the slots have time for. The time ends when the last visit that was due met its objective."""
    for one in steps if candidate.slots and workload.service_ms else ():
        time_s = one.step.duration_s + workload.slo_ms / 1e3
        bound = candidate.slots * time_s * 1e3 / workload.service_ms
        if one.right > bound * BOUND_TOLERANCE:
            yield Note(NoteKind.CAPACITY, candidate.name, (one.right, time_s, candidate.slots, workload.service_ms, bound))
            return


def _little(workload: Workload, candidate: Candidate, steps: list[JudgedStep]) -> Iterator[Note]:
    """Visitors in the system = rate x time in it. Only for single requests: the pauses of a visit are not recorded.

    The law is about a steady state. Above the knee the queue grows as long as the step lasts, and most of the waiting is
    done after it. A step also has two ends, at which visitors are counted whose time is not, or the other way round: no more
    than came within the longest time (max), each for half of it on average, which is much after a stall.
    """
    for one in steps:
        mean = one.step.in_flight_mean
        if workload.name == "journey" or one.failures or mean < FEWEST_IN_FLIGHT:
            continue
        everything = one.recording.all
        expected = one.goodput_per_s * everything.service.mean_ms / 1e3
        longest_s = everything.latency.quantile_ms(1.0) / 1e3
        at_the_ends = one.step.rate_per_s * longest_s**2 / one.step.duration_s
        if abs(expected - mean) > LITTLE_TOLERANCE * mean + FEWEST_IN_FLIGHT + at_the_ends:
            yield Note(NoteKind.LITTLE, candidate.name, (one.step.rate_per_s, mean, expected))
            return


def _of_proof(candidate: Candidate, proof: dict[str, object]) -> Iterator[Note]:
    driver = proof.get("database_driver")
    name, blocks = (str(driver.get("name")), driver.get("cooperative") is False) if isinstance(driver, dict) else ("", False)
    if proof.get("gevent_patched") and blocks and name not in IN_PROCESS:
        yield Note(NoteKind.BLOCKING_DRIVER, candidate.name, (name,))
    slots, pool = proof.get("slots_per_process"), proof.get("database_pool_size")
    if isinstance(slots, int) and isinstance(pool, int) and slots > pool > 0:
        yield Note(NoteKind.SMALL_POOL, candidate.name, (slots, pool))
    if slots == 1 and proof.get("gateway_buffers") is False:
        yield Note(NoteKind.NO_BUFFER, candidate.name)


def _timeout(candidate: Candidate, cell: JudgedCell) -> Iterator[Note]:
    timeout_s = cell.cell.proof.get("timeout_s")
    worst_ms = max((one.p99_ms for one in cell.steps if math.isfinite(one.p99_ms)), default=0.0)
    if timeout_s and worst_ms > timeout_s * 1e3:
        yield Note(NoteKind.TIMEOUT, candidate.name, (worst_ms / 1e3, timeout_s))
