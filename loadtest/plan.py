"""What will be run, in which order and for how long: decided before anything runs."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from loadtest.records.model import Candidate, Kind, Manifest, Pace, Workload

# Until a candidate is ready and proved, about, by runtime: new processes need less than new containers.
START_S: Mapping[str, float] = {"local": 3.0, "compose": 3.5}
FIRST_START_S: Mapping[str, float] = {"local": 15.0, "compose": 60.0}
# Of each step beside its measured time: the last answers, the record.
STEP_OVERHEAD_S = 0.5


@dataclass(frozen=True)
class Profile:
    """How thorough a run is. `workloads`: empty: all."""

    gives_verdict: bool
    blocks: int
    pace: Pace
    workloads: tuple[str, ...]


_SMOKE = Pace(step_s=0.5, warm_up_s=0.5, warm_up_at_most_s=0.5, between_s=0.3, steps=3, known_steps=3, rate_blocks=1)
_QUICK = Pace(step_s=1.0, warm_up_s=0.5, warm_up_at_most_s=1.0, between_s=0.25, steps=4, known_steps=3, rate_blocks=1)
_FULL = Pace(step_s=6.0, warm_up_s=2.0, warm_up_at_most_s=8.0, between_s=0.5, steps=5, known_steps=3, rate_blocks=3)
# quick: more blocks of shorter steps tell more than few long ones, because each run is one sample; five is where the
# interval of so many pairs stops being hopeless (with three it is four times as wide).
PROFILES = {
    "smoke": Profile(False, 1, _SMOKE, ("json", "wait")),
    "quick": Profile(True, 5, _QUICK, ("json", "page", "wait", "mixed")),
    "full": Profile(True, 8, _FULL, ()),
}


@dataclass(frozen=True)
class Place:
    """One cell of the plan."""

    block: int
    workload: Workload
    candidate: Candidate
    kind: Kind


def order_of(seed: int, blocks: int, candidates: Sequence[Candidate]) -> tuple[tuple[str, ...], ...]:
    """Return for each block the candidates in random order; the same seed gives the same orders."""
    chance = random.Random(seed)  # noqa: S311 - a shuffle that can be repeated
    names = [candidate.name for candidate in candidates]
    return tuple(tuple(chance.sample(names, len(names))) for _ in range(blocks))


def places(manifest: Manifest) -> Iterator[Place]:
    """Yield the cells in the order of the run: in each block all knees of a workload, then its common rates."""
    candidates = {candidate.name: candidate for candidate in manifest.candidates}
    for block, names in enumerate(manifest.order):
        kinds: list[Kind] = ["knee"]
        kinds += ["rates"] if block < manifest.pace.rate_blocks else []
        for workload in manifest.workloads:
            for kind in kinds:
                for name in names:
                    yield Place(block, workload, candidates[name], kind)


def seconds(manifest: Manifest, place: Place) -> float:
    """Return how long a cell will take, about."""
    pace = manifest.pace
    start_s = START_S.get(manifest.machine.runtime, START_S["compose"]) + (pace.warm_up_s + pace.warm_up_at_most_s) / 2
    one_s = pace.step_s + pace.between_s + STEP_OVERHEAD_S
    if place.kind == "knee":
        # Before the first search there is a probe, about as long as a step.
        return start_s + one_s * (pace.known_steps if place.block else pace.steps + 1)
    return start_s + one_s * len(manifest.rates)


def minutes(manifest: Manifest) -> float:
    """Return how long a run will take, about."""
    first_s = FIRST_START_S.get(manifest.machine.runtime, FIRST_START_S["compose"])
    return (first_s + sum(seconds(manifest, place) for place in places(manifest))) / 60
