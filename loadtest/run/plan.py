"""What will be run, in which order and for how long: decided before anything runs."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from loadtest.inference import FEWEST_BLOCKS, blocks_for, smallest_difference
from loadtest.records import Candidate, Manifest, Workload

# Spread of a paired log ratio that published set-ups and this kit's own runs show on shared machines; a run measures its own.
USUAL_SPREAD = 0.06
DIFFERENCES = (0.05, 0.1, 0.2, 0.3)


@dataclass(frozen=True)
class Profile:
    """How thorough a run is. Times in seconds. `steps`: at most so many in one search for a knee."""

    name: str
    gives_verdict: bool
    blocks: int
    step_s: float
    warm_up_s: float
    warm_up_at_most_s: float
    steps: int
    rate_blocks: int  # in so many blocks the common rates are measured as well
    workloads: tuple[str, ...]  # empty: all
    start_s: float = 8.0  # a guess for the plan: a candidate's start, proof and stop


PROFILES = {
    "smoke": Profile("smoke", False, 1, 1.0, 0.5, 1.0, 4, 1, ("json", "wait")),
    "quick": Profile("quick", True, 4, 2.0, 1.0, 3.0, 4, 1, ("json", "page", "wait", "mixed")),
    "full": Profile("full", True, 8, 10.0, 3.0, 15.0, 6, 8, ()),
}


@dataclass(frozen=True)
class Place:
    """One cell of the plan."""

    block: int
    workload: Workload
    candidate: Candidate
    kind: str  # "knee", "rates"


def order_of(seed: int, blocks: int, candidates: Sequence[Candidate]) -> tuple[tuple[str, ...], ...]:
    """Return for each block the candidates in random order; the same seed gives the same orders."""
    chance = random.Random(seed)  # noqa: S311 - a shuffle that can be repeated
    names = [candidate.name for candidate in candidates]
    return tuple(tuple(chance.sample(names, len(names))) for _ in range(blocks))


def places(manifest: Manifest, profile: Profile) -> Iterator[Place]:
    """Yield the cells in the order of the run: in each block all knees of a workload, then its common rates."""
    candidates = {candidate.name: candidate for candidate in manifest.candidates}
    for block, names in enumerate(manifest.order):
        for workload in manifest.workloads:
            for kind in ("knee", "rates") if block < profile.rate_blocks else ("knee",):
                for name in names:
                    yield Place(block, workload, candidates[name], kind)


def seconds(manifest: Manifest, profile: Profile, place: Place) -> float:
    """Return how long a cell will take, about."""
    first_warm_up_s = (profile.warm_up_s + profile.warm_up_at_most_s) / 2
    steps = profile.steps + 1 if place.kind == "knee" else len(manifest.rates)
    return profile.start_s + first_warm_up_s + steps * (profile.step_s + 1.0)


def describe(manifest: Manifest, profile: Profile) -> list[str]:
    """Return the plan as lines: what, how long, and what difference it can see."""
    all_places = list(places(manifest, profile))
    minutes = sum(seconds(manifest, profile, place) for place in all_places) / 60
    lines = [
        f"profile    {profile.name}, {manifest.blocks} blocks, seed {manifest.seed}",
        f"candidates {', '.join(f'{c.name} ({c.slots or chr(8734)} slots)' for c in manifest.candidates)}",
        f"workloads  {', '.join(f'{w.name} (p99 <= {w.slo_ms:g} ms)' for w in manifest.workloads)}",
        f"runs       {len(all_places)}, about {math.ceil(minutes)} minutes",
    ]
    if not profile.gives_verdict or manifest.blocks < FEWEST_BLOCKS:
        return [*lines, "verdict    none: it only shows that everything works"]
    comparisons = max(math.comb(len(manifest.candidates), 2), 1)
    sees = smallest_difference(USUAL_SPREAD, manifest.blocks, comparisons=comparisons, margin=manifest.margin)
    lines.append(
        f"sees       differences of {sees:.0%} or more, four times of five, where runs spread by {USUAL_SPREAD:.0%} as they usually do"
    )
    for difference in DIFFERENCES:
        if difference < sees and difference > manifest.margin:
            blocks = blocks_for(difference, USUAL_SPREAD, comparisons=comparisons, margin=manifest.margin)
            lines.append(
                f"           {difference:.0%} would need {blocks} blocks" if blocks else f"           {difference:.0%} is out of reach"
            )
    return lines
