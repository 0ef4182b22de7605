"""How thorough a run is, how long it takes, and what it will see: decided before anything runs."""

import math
import os
import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from loadtest.judge.inference import smallest_difference
from loadtest.records.model import Manifest, Pace

# Until all candidates are ready and proved, about, by runtime: new processes need less than new containers.
START_S: Mapping[str, float] = {"local": 3.0, "compose": 5.0}
FIRST_START_S: Mapping[str, float] = {"local": 20.0, "compose": 45.0}
# Of each slice beside its measured time and what settles before it: a server that was overloaded has to come to rest, the last answers.
SLICE_OVERHEAD_S = 0.4
# One processor, in turns of this length for so long, shows how much of it a program gets: nothing else of the run is needed for that.
PROBE_S, PROBE_SLICE_S = 14.0, 0.7
# What a slice says of the knee spreads as the processor's work does, and the arrivals of a slice scatter by themselves; two rounds of three
# are about the knee.
KNEE_FACTOR, KNEE_LEAST, KNEE_ROUNDS = 1.2, 0.08, 2 / 3
MOST_BLOCKS = 60


@dataclass(frozen=True)
class Profile:
    """How thorough a run is. `workloads`: empty: all."""

    gives_verdict: bool
    pace: Pace
    workloads: tuple[str, ...]


# Many short blocks tell more than few long ones: each is one sample of its processes' luck, and of the machine's.
_SMOKE = Pace(minutes=4, blocks=1, rounds=3, slice_s=0.5, longest_slice_s=0.5, fewest_requests=1, settle_s=0.2, warm_up_s=0.3)
_QUICK = Pace(minutes=20, blocks=16, rounds=3, slice_s=0.6, longest_slice_s=1.2, fewest_requests=100, settle_s=0.2, warm_up_s=0.4)
_FULL = Pace(minutes=90, blocks=16, rounds=8, slice_s=1.0, longest_slice_s=4.0, fewest_requests=200, settle_s=0.3, warm_up_s=0.5)
PROFILES = {
    "smoke": Profile(False, _SMOKE, ("json", "wait")),
    "quick": Profile(True, _QUICK, ("json", "page", "wait", "mixed")),
    "full": Profile(True, _FULL, ()),
}


def seconds(manifest: Manifest) -> float:
    """Return how long a block lasts, about, as long as nothing is decided."""
    pace, visits = manifest.pace, len(manifest.candidates) * len(manifest.workloads)
    one_s = (pace.slice_s + pace.longest_slice_s) / 2 + pace.settle_s + SLICE_OVERHEAD_S
    start_s = START_S.get(manifest.machine.runtime, START_S["compose"])
    return start_s + visits * (2 * pace.warm_up_s + SLICE_OVERHEAD_S + pace.rounds * one_s)


def minutes(manifest: Manifest, blocks: int) -> float:
    """Return how long so many blocks take, about."""
    return (FIRST_START_S.get(manifest.machine.runtime, FIRST_START_S["compose"]) + blocks * seconds(manifest)) / 60


def blocks_in(manifest: Manifest, most_minutes: float) -> int:
    """Return how many blocks there is time for; 0: none."""
    return max(math.floor((most_minutes - minutes(manifest, 0)) * 60 / seconds(manifest) + 1e-9), 0)


def blocks_for(difference: float, spread: float, manifest: Manifest) -> int | None:
    """Return how many blocks find a difference (0.1 is 10 %) four times of five; None: more than any run has."""
    enough = bisect_left(range(MOST_BLOCKS + 1), True, key=lambda blocks: (sees(spread, manifest, blocks) or math.inf) <= difference)
    return enough if enough <= MOST_BLOCKS else None


def sees(spread: float, manifest: Manifest, blocks: int) -> float | None:
    """Return the smallest difference that so many blocks find four times of five; None: too few for any verdict.

    `spread`: standard deviation of the log ratio of one block, of a pair.
    """
    comparisons = max(math.comb(len(manifest.candidates), 2), 1)
    found = smallest_difference(spread, blocks, comparisons=comparisons, margin=manifest.margin)
    return found if math.isfinite(found) else None


def block_spread(work_spread: float, manifest: Manifest) -> float:
    """Return the spread of a block's log ratio of knees that is to be expected where the processor's work spreads so much."""
    return math.hypot(KNEE_FACTOR * work_spread, KNEE_LEAST) * math.sqrt(2 / (manifest.pace.rounds * KNEE_ROUNDS))


def probe(generator_cpus: Sequence[int], lasts_s: float = PROBE_S) -> float:
    """Return how much neighbouring slices differ in what a server's processor gets done: standard deviation of one slice's logarithm.

    `generator_cpus`: to keep away from, as the servers do. Differences of neighbours, so that a slow drift does not count.
    """
    before = os.sched_getaffinity(0) if generator_cpus else set()
    try:
        if before:
            os.sched_setaffinity(0, before.difference(generator_cpus))
        done = [_work(PROBE_SLICE_S) for _ in range(max(round(lasts_s / PROBE_SLICE_S), 3))]
    finally:
        if before:
            os.sched_setaffinity(0, before)
    return float(np.std(np.diff(np.log(done))) / math.sqrt(2))


def _work(lasts_s: float) -> int:
    until_s, done = time.perf_counter() + lasts_s, 0
    while time.perf_counter() < until_s:
        sum(range(100))
        done += 1
    return done
