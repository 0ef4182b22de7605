"""Two runs side by side: did anything change, and may they be compared at all?"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from loadtest.judge.answers import Answer, Pair, RunAnswers
from loadtest.judge.inference import FEWEST_BLOCKS, Comparison, Interval, compare, unpaired_interval
from loadtest.records.model import Manifest


@dataclass(frozen=True)
class Change:
    """One candidate under one workload: the later run's throughput against the earlier one's."""

    workload: str
    candidate: str
    interval: Interval
    comparison: Comparison


@dataclass(frozen=True)
class Difference:
    """What two runs say together. `contradictions`: (workload, pair in one run, the other way round in the other)."""

    changes: tuple[Change, ...]
    contradictions: tuple[tuple[str, Pair, Pair], ...]
    same_recommendation: dict[str, bool]


def obstacles(first: Manifest, second: Manifest) -> list[str]:
    """Return why two runs cannot be compared, as short facts; empty when they can."""
    return [*_machines(first, second), *_questions(first, second), *_worth(first, second)]


def _machines(first: Manifest, second: Manifest) -> Iterator[str]:
    for name in ("cpu_model", "cpus", "cpu_quota", "runtime", "one_machine"):
        one, other = getattr(first.machine, name), getattr(second.machine, name)
        if one != other:
            yield f"the machines differ: {name} is {one} and {other}"
    if abs(math.log(first.machine.memory_bytes / second.machine.memory_bytes)) > 0.1:  # noqa: PLR2004 - kernels reserve unlike amounts
        yield "the machines differ: memory"


def _questions(first: Manifest, second: Manifest) -> Iterator[str]:
    works = ({work.name: work for work in run.workloads} for run in (first, second))
    settings = ({candidate.name: candidate.settings for candidate in run.candidates} for run in (first, second))
    for what, (one, other) in (("workload", works), ("candidate", settings)):
        common = sorted(one.keys() & other.keys())
        if not common:
            yield f"they have no {what} in common"
        yield from (f"{what} {known} is not the same in both" for known in common if one[known] != other[known])


def _worth(first: Manifest, second: Manifest) -> Iterator[str]:
    for run in (first, second):
        if run.synthetic:
            yield f"{run.run} is synthetic"
        if not run.gives_verdict:
            yield f"{run.run} gives no verdict (profile {run.profile})"
    if first.limits != second.limits:
        yield "what counts as valid differs"


def difference(first: RunAnswers, second: RunAnswers) -> Difference:
    """Compare two runs that have no obstacles."""
    later = {answer.workload.name: answer for answer in second.answers}
    pairs = [(answer, later[answer.workload.name]) for answer in first.answers if answer.workload.name in later]
    return Difference(
        changes=tuple(change for one, other in pairs for change in _changes(one, other, first.manifest.margin)),
        contradictions=tuple(found for one, other in pairs for found in _contradictions(one, other)),
        same_recommendation={one.workload.name: one.recommended == other.recommended for one, other in pairs},
    )


def _changes(one: Answer, other: Answer, margin: float) -> Iterator[Change]:
    before, after = ({seen.candidate.name: [*map(math.log, seen.knees_per_s.values())] for seen in a.candidates} for a in (one, other))
    common = [name for name in before if name in after]
    for name in common:
        if min(len(before[name]), len(after[name])) >= FEWEST_BLOCKS:
            found = unpaired_interval(before[name], after[name], comparisons=len(common))
            yield Change(one.workload.name, name, found, compare(found, margin))


def _contradictions(one: Answer, other: Answer) -> Iterator[tuple[str, Pair, Pair]]:
    for pair in one.pairs:
        again = other.between(pair.base, pair.other)
        if again and again.comparison is not pair.comparison and again.comparison is pair.comparison.inverse():
            yield one.workload.name, pair, again
