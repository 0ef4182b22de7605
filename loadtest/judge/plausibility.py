"""Figures that contradict theory, and servers that are set against their purpose: noted, whatever the verdict."""

import math
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import groupby
from statistics import fmean
from typing import Any, NamedTuple

from loadtest.judge.inference import FEWEST_BLOCKS, interval
from loadtest.judge.knee import Evidence, evidence_of, knee_of, surprises
from loadtest.judge.slices import JudgedSlice
from loadtest.records.model import Candidate, Manifest, Workload

# Little's law holds exactly over a long time; a sampled mean over seconds is off by less than this.
LITTLE_TOLERANCE = 0.2
FEWEST_IN_FLIGHT = 1.0  # below, sampling says little
BOUND_TOLERANCE = 1.05
FEWEST_IN_A_HALF = 2  # slices of half a block: one alone is the first guess, or what came after a failure
# A database in the server's own process never waits, so no driver could wait better.
IN_PROCESS = {"pysqlite"}


class NoteKind(StrEnum):
    CAPACITY = "more answers than the slots have time for"
    LITTLE = "Little's law"
    BLOCKING_DRIVER = "blocking driver"
    SMALL_POOL = "pool smaller than slots"
    TIMEOUT = "p99 above timeout"
    TIRING = "carries less with time"


class Note(NamedTuple):
    """Something odd about a candidate, with the figures that show it."""

    kind: NoteKind
    candidate: str
    facts: tuple[Any, ...] = ()


def notes(
    workload: Workload, own: Mapping[str, Sequence[JudgedSlice]], proofs: Mapping[str, Mapping[str, object]], manifest: Manifest
) -> tuple[Note, ...]:
    """Return a note for each candidate and law that its figures break, and for each setting that makes it worse than it need be.

    `own`: the believed slices of each candidate; `proofs`: what each said of itself.
    """
    found: list[Note] = []
    for candidate in manifest.candidates:
        seen = own[candidate.name]
        steady = [one for one in seen if one.holds]
        proof = proofs.get(candidate.name, {})
        found += (*_capacity(workload, candidate, steady), *_little(workload, candidate, steady), *_tiring(candidate, seen, manifest))
        found += (*_of_proof(candidate, proof), *_timeout(candidate, seen, proof))
    return tuple(dict.fromkeys(found))


def _capacity(workload: Workload, candidate: Candidate, slices: Sequence[JudgedSlice]) -> Iterator[Note]:
    """No more right answers than the slots have time for. The time ends when the last visit that was due met its objective."""
    for one in slices if candidate.slots and workload.service_ms else ():
        time_s = one.slice.duration_s + workload.slo_ms / 1e3
        bound = candidate.slots * time_s * 1e3 / workload.service_ms
        if one.right > bound * BOUND_TOLERANCE:
            yield Note(NoteKind.CAPACITY, candidate.name, (one.right, time_s, candidate.slots, workload.service_ms, bound))
            return


def _little(workload: Workload, candidate: Candidate, slices: Sequence[JudgedSlice]) -> Iterator[Note]:
    """Visitors in the system = rate x time in it. Only for single requests: the pauses of a visit are not recorded.

    The law is about a steady state, over a long time: all slices that hold the objective are taken together. A slice has two ends, at
    which visitors are counted whose time is not, or the other way round: no more than came within the longest time (max), each for half
    of it on average, which is much after a stall.
    """
    single = [one for one in slices if not one.failures] if workload.name != "journey" else []
    if not single:
        return
    time_s = sum(one.slice.duration_s for one in single)
    mean = sum(one.slice.in_flight_mean * one.slice.duration_s for one in single) / time_s
    expected = sum(one.right * one.recording.all.service.mean_ms / 1e3 for one in single) / time_s
    at_the_ends = sum(one.slice.rate_per_s * (one.recording.all.latency.quantile_ms(1.0) / 1e3) ** 2 for one in single) / time_s
    if mean >= FEWEST_IN_FLIGHT and abs(expected - mean) > LITTLE_TOLERANCE * mean + FEWEST_IN_FLIGHT + at_the_ends:
        yield Note(NoteKind.LITTLE, candidate.name, (sum(one.right for one in single) / time_s, mean, expected))


def _tiring(candidate: Candidate, slices: Sequence[JudgedSlice], manifest: Manifest) -> Iterator[Note]:
    """A server that carries less the longer its processes live: at the same rates, the second half of each block does worse."""
    halves: tuple[list[Evidence], list[Evidence]] = [], []
    logs = []
    seen = [evidence_of(one) for one in slices]
    for _, block in groupby(zip(seen, surprises(seen) if seen else [], strict=True), key=lambda pair: pair[0].block):
        inside = list(block)
        middle = len(inside) // 2
        if middle >= FEWEST_IN_A_HALF:
            parts = inside[:middle], inside[middle:]
            logs.append(fmean(worse for _, worse in parts[1]) - fmean(worse for _, worse in parts[0]))
            for half, part in zip(halves, parts, strict=True):
                half += [one for one, _ in part]
    if len(logs) >= FEWEST_BLOCKS and interval(logs, comparisons=len(manifest.candidates), confidence=manifest.confidence).high < 1:
        early, late = map(knee_of, halves)
        if early - late > math.log1p(manifest.margin):
            yield Note(NoteKind.TIRING, candidate.name, (math.exp(late - early),))


def _of_proof(candidate: Candidate, proof: Mapping[str, object]) -> Iterator[Note]:
    driver = proof.get("database_driver")
    name, blocks = (str(driver.get("name")), driver.get("cooperative") is False) if isinstance(driver, dict) else ("", False)
    if proof.get("gevent_patched") and blocks and name not in IN_PROCESS:
        yield Note(NoteKind.BLOCKING_DRIVER, candidate.name, (name,))
    slots, pool = proof.get("slots_per_process"), proof.get("database_pool_size")
    if isinstance(slots, int) and isinstance(pool, int) and slots > pool > 0:
        yield Note(NoteKind.SMALL_POOL, candidate.name, (slots, pool))


def _timeout(candidate: Candidate, slices: Sequence[JudgedSlice], proof: Mapping[str, object]) -> Iterator[Note]:
    timeout_s = proof.get("timeout_s")
    worst_ms = max((one.judged.latency.quantile_ms(1.0) for one in slices), default=0.0)
    if isinstance(timeout_s, int | float) and timeout_s and worst_ms > timeout_s * 1e3:
        yield Note(NoteKind.TIMEOUT, candidate.name, (worst_ms / 1e3, timeout_s))
