"""Two runs side by side: did anything change, and may they be compared at all?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from loadtest.inference import FEWEST_BLOCKS, Interval, Verdict, judge, unpaired_interval
from loadtest.records import Manifest
from loadtest.report.words import ratio
from loadtest.verdicts import Answer, Results, between


@dataclass(frozen=True)
class Change:
    """One candidate under one workload: the later run's throughput against the earlier one's."""

    workload: str
    candidate: str
    interval: Interval
    verdict: Verdict


@dataclass(frozen=True)
class Difference:
    """What two runs say together. `contradictions`: pairs that one run calls the other way round."""

    changes: tuple[Change, ...]
    contradictions: tuple[str, ...]
    same_recommendation: dict[str, bool]


def obstacles(first: Manifest, second: Manifest) -> list[str]:
    """Return why two runs cannot be compared; empty when they can."""
    return [*_machines(first, second), *_questions(first, second), *_worth(first, second)]


def _machines(first: Manifest, second: Manifest) -> Iterator[str]:
    for name in ("cpu_model", "cpus", "cpu_quota", "runtime", "one_machine"):
        one, other = getattr(first.machine, name), getattr(second.machine, name)
        if one != other:
            yield f"the machines differ: {name} is {one} and {other}"
    if abs(math.log(first.machine.memory_bytes / second.machine.memory_bytes)) > 0.1:  # noqa: PLR2004 - kernels reserve unlike amounts
        yield "the machines differ: memory"


def _questions(first: Manifest, second: Manifest) -> Iterator[str]:
    works = [{work.name: work for work in run.workloads} for run in (first, second)]
    servers = [{one.name: one for one in run.candidates} for run in (first, second)]
    if not works[0].keys() & works[1].keys():
        yield "they have no workload in common"
    if not servers[0].keys() & servers[1].keys():
        yield "they have no candidate in common"
    for name in sorted(works[0].keys() & works[1].keys()):
        if works[0][name] != works[1][name]:
            yield f"workload {name} is not the same in both"
    for name in sorted(servers[0].keys() & servers[1].keys()):
        if servers[0][name].settings != servers[1][name].settings:
            yield f"candidate {name} is set differently"


def _worth(first: Manifest, second: Manifest) -> Iterator[str]:
    for run in (first, second):
        if run.synthetic:
            yield f"{run.run} is synthetic"
        if not run.gives_verdict:
            yield f"{run.run} gives no verdict (profile {run.profile})"
    if first.limits != second.limits:
        yield "what counts as valid differs"


def compare(first: Results, second: Results) -> Difference:
    """Compare two runs that have no obstacles."""
    later = {answer.workload.name: answer for answer in second.answers}
    pairs = [(answer, later[answer.workload.name]) for answer in first.answers if answer.workload.name in later]
    return Difference(
        changes=tuple(change for one, other in pairs for change in _changes(one, other, first.manifest.margin)),
        contradictions=tuple(text for one, other in pairs for text in _contradictions(one, other)),
        same_recommendation={one.workload.name: one.recommended == other.recommended for one, other in pairs},
    )


def _changes(one: Answer, other: Answer, margin: float) -> Iterator[Change]:
    later = {seen.candidate.name: list(seen.knees_per_s.values()) for seen in other.seen}
    able = {seen.candidate.name: list(seen.knees_per_s.values()) for seen in one.seen if seen.candidate.name in later}
    for name, values in able.items():
        if min(len(values), len(later[name])) >= FEWEST_BLOCKS and min(*values, *later[name]) > 0:
            interval = unpaired_interval(values, later[name], comparisons=len(able))
            yield Change(one.workload.name, name, interval, judge(interval, margin))


def _contradictions(one: Answer, other: Answer) -> Iterator[str]:
    opposite = {Verdict.HIGHER: Verdict.LOWER, Verdict.LOWER: Verdict.HIGHER}
    for pair in one.pairs:
        again = between(pair.base, pair.other, other.pairs)
        if again and opposite.get(pair.verdict) == again.verdict:
            yield f"{one.workload.name}: {pair.other} against {pair.base} is {pair.verdict} in one run and {again.verdict} in the other"


def lines(found: Difference) -> list[str]:
    """Return the comparison as text."""
    words = {Verdict.HIGHER: "more", Verdict.LOWER: "less", Verdict.TIE: "the same", Verdict.UNDECIDED: "no difference shown"}
    out = [f"{change.workload}, {change.candidate}: {words[change.verdict]}, {ratio(change.interval)}" for change in found.changes]
    out += [f"CONTRADICTION: {text}" for text in found.contradictions]
    out += [f"{name}: {'the same' if same else 'NOT the same'} recommendation" for name, same in found.same_recommendation.items()]
    return out
