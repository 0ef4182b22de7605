"""From cells to answers: the same whenever it is asked. What is judged was fixed in the manifest before the run."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from loadtest.judge.inference import FEWEST_BLOCKS, Comparison, Interval, compare, mean_interval, ratio_interval, smallest_difference
from loadtest.judge.plausibility import Note, notes
from loadtest.judge.steps import JudgedCell, JudgedStep, judge_cells
from loadtest.records.histogram import Histogram
from loadtest.records.model import Candidate, Cell, Manifest, Workload

CURVE = (0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99, 0.995, 0.999, 0.9999)


@dataclass(frozen=True)
class AtRate:
    """A candidate at one rate, all valid runs together. `load`: share of the weakest knee. Interval: None below three runs."""

    load: float
    rate_per_s: float
    runs: int
    goodput_per_s: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p99_interval: Interval | None
    service_p99_ms: float
    error_share: float
    errors: dict[str, int]
    cpu_ms_per_request: float | None
    memory_mib: float | None
    curve_ms: tuple[float, ...]


@dataclass(frozen=True)
class Failure:
    """Why a candidate has no throughput at the objective: the lowest rate that was tried, and what happened there."""

    rate_per_s: float
    p99_ms: float
    error_share: float
    mostly: str  # kind of error; "": too slow


@dataclass(frozen=True)
class CandidateAnswer:
    """One candidate under one workload. `knees_per_s`: of its valid runs, by block."""

    candidate: Candidate
    knees_per_s: dict[int, float]
    throughput: Interval | None
    against_baseline: Pair | None
    failure: Failure | None
    rates: tuple[AtRate, ...]
    search: tuple[tuple[float, float, float], ...]  # (rate, p50, p99) of every valid step of the searches

    @property
    def able(self) -> bool:
        """Whether it has enough valid runs, and held the objective in each."""
        return not self.failure and len(self.knees_per_s) >= FEWEST_BLOCKS and min(self.knees_per_s.values()) > 0


@dataclass(frozen=True)
class Pair:
    """`other` against `base`: a ratio of throughputs at the objective."""

    base: str
    other: str
    interval: Interval
    comparison: Comparison

    def turned(self) -> Pair:
        """Return `base` against `other`."""
        return Pair(self.other, self.base, self.interval.inverse(), self.comparison.inverse())


@dataclass(frozen=True)
class Answer:
    """What a run says about one workload."""

    workload: Workload
    candidates: tuple[CandidateAnswer, ...]
    pairs: tuple[Pair, ...]
    recommended: str | None
    sees: float | None  # the smallest difference that this run finds four times of five, as a share; None: unknown
    notes: tuple[Note, ...]
    below_floor: dict[float, float]  # load -> spread of all p99 (ms), where that is less than the generator itself adds

    def between(self, base: str, other: str) -> Pair | None:
        """Return `other` against `base`, whichever way it was compared."""
        return next((pair for pair in _both_ways(self.pairs) if (pair.base, pair.other) == (base, other)), None)


@dataclass(frozen=True)
class RunAnswers:
    """All answers of a run. `missing`: searches that were planned and are not there."""

    manifest: Manifest
    answers: tuple[Answer, ...]
    cells: tuple[JudgedCell, ...]
    missing: int
    floor_ms: float | None


def answer_run(manifest: Manifest, cells: Sequence[Cell]) -> RunAnswers:
    """Judge a run from its records."""
    judged = judge_cells(manifest, cells)
    believed = list(latest(judged).values())
    answers = tuple(_answer(manifest, work, [one for one in believed if one.cell.workload == work.name]) for work in manifest.workloads)
    expected = len(manifest.workloads) * len(manifest.candidates) * manifest.blocks
    missing = max(expected - sum(one.cell.kind == "knee" for one in believed), 0)
    return RunAnswers(manifest, answers, tuple(judged), missing, floor(manifest))


def latest(cells: Iterable[JudgedCell]) -> dict[tuple[str, str, int, str], JudgedCell]:
    """Return one cell for each place in the plan: the latest attempt that is believed, else the latest."""
    ordered = sorted(cells, key=lambda one: (not one.invalid, one.cell.attempt))
    return {(one.cell.workload, one.cell.candidate, one.cell.block, one.cell.kind): one for one in ordered}


def _answer(manifest: Manifest, workload: Workload, cells: list[JudgedCell]) -> Answer:
    seen = [_candidate(candidate, [one for one in cells if one.cell.candidate == candidate.name]) for candidate in manifest.candidates]
    pairs, spreads = _pairs(manifest, seen)
    to_baseline = {pair.other: pair for pair in _both_ways(pairs) if pair.base == manifest.baseline}
    seen = [replace(one, against_baseline=to_baseline.get(one.candidate.name)) for one in seen]
    median = float(np.median(spreads)) if spreads else math.nan
    sees = smallest_difference(median, manifest.blocks, comparisons=math.comb(len(seen), 2), margin=manifest.margin)
    return Answer(
        workload=workload,
        candidates=tuple(seen),
        pairs=pairs,
        recommended=recommend(seen, pairs, manifest.margin) if manifest.gives_verdict else None,
        sees=sees if spreads else None,
        notes=notes(workload, cells, manifest),
        below_floor=_below_floor(manifest, seen),
    )


def _candidate(candidate: Candidate, cells: list[JudgedCell]) -> CandidateAnswer:
    valid = [one for one in cells if not one.invalid]
    found = {one.cell.block: one.knee_per_s for one in sorted(valid, key=lambda one: one.cell.block) if one.knee_per_s is not None}
    steps = [step for one in valid if one.cell.kind == "knee" for step in one.sound]
    return CandidateAnswer(
        candidate=candidate,
        knees_per_s=found,
        throughput=mean_interval(list(found.values())) if len(found) >= FEWEST_BLOCKS and min(found.values()) > 0 else None,
        against_baseline=None,
        failure=_failure(steps) if found and max(found.values()) == 0 else None,
        rates=_rates(valid),
        search=tuple(sorted((one.step.rate_per_s, one.judged.latency.quantile_ms(0.5), one.p99_ms) for one in steps)),
    )


def _failure(steps: list[JudgedStep]) -> Failure:
    lowest = min(steps, key=lambda one: one.step.rate_per_s)
    kinds = lowest.recording.errors
    wrong = lowest.error_share > lowest.limits.error_share
    mostly = max(kinds, key=lambda kind: kinds[kind], default="dropped arrivals") if wrong else ""
    return Failure(lowest.step.rate_per_s, lowest.p99_ms, lowest.error_share, mostly)


def _pairs(manifest: Manifest, seen: list[CandidateAnswer]) -> tuple[tuple[Pair, ...], list[float]]:
    """Compare every candidate with every other, in the blocks where both have a valid run; also return each pair's spread."""
    combinations = list(itertools.combinations(seen, 2))
    pairs, spreads = [], []
    for base, other in combinations:
        blocks = sorted(base.knees_per_s.keys() & other.knees_per_s.keys())
        both = [(base.knees_per_s[block], other.knees_per_s[block]) for block in blocks]
        logs = [math.log(second / first) for first, second in both if first > 0 and second > 0]
        if len(logs) >= FEWEST_BLOCKS:
            spreads.append(float(np.std(logs, ddof=1)))
        if len(logs) == len(both) >= FEWEST_BLOCKS:
            first, second = zip(*both, strict=True)
            interval = ratio_interval(first, second, comparisons=len(combinations), confidence=manifest.confidence)
            pairs.append(Pair(base.candidate.name, other.candidate.name, interval, compare(interval, manifest.margin)))
    return tuple(pairs), spreads


def _both_ways(pairs: Iterable[Pair]) -> Iterable[Pair]:
    return (seen for pair in pairs for seen in (pair, pair.turned()))


def recommend(seen: Sequence[CandidateAnswer], pairs: Sequence[Pair], margin: float) -> str | None:
    """Return the simplest candidate that no other was shown to beat by more than the margin; None when none has enough valid runs.

    The whole interval must lie beyond it, or one run would call for the simpler and the next for another, over 8 % [2 to 15].
    A simpler one beats by any difference that was shown.
    """
    simplicity = {one.candidate.name: one.candidate.simplicity for one in seen}
    beaten = {
        pair.base
        for pair in _both_ways(pairs)
        if pair.interval.low > 1 + margin or (pair.comparison is Comparison.HIGHER and simplicity[pair.other] < simplicity[pair.base])
    }
    best = [one.candidate.name for one in seen if one.able and one.candidate.name not in beaten]
    return min(best, key=lambda name: simplicity[name], default=None)


def _rates(cells: list[JudgedCell]) -> tuple[AtRate, ...]:
    by_load: dict[float, list[JudgedStep]] = defaultdict(list)
    for one in (step for cell in cells for step in cell.sound):
        if one.step.load is not None:
            by_load[one.step.load].append(one)
    return tuple(_at_rate(load, steps) for load, steps in sorted(by_load.items()))


def _at_rate(load: float, steps: list[JudgedStep]) -> AtRate:
    latency = Histogram.merged(one.judged.latency for one in steps)
    p50, p90, p99 = latency.quantiles_ms((0.5, 0.9, 0.99))
    p99s = [one.p99_ms for one in steps]
    requests, failures = sum(one.right for one in steps), sum(one.failures for one in steps)
    used = [one.step.server for one in steps]
    cpu_s = [usage.cpu_s for usage in used if usage.cpu_s is not None]
    memory = [usage.memory_bytes for usage in used if usage.memory_bytes is not None]
    return AtRate(
        load=load,
        rate_per_s=float(np.median([one.step.rate_per_s for one in steps])),
        runs=len(steps),
        goodput_per_s=float(np.mean([one.goodput_per_s for one in steps])),
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
        p99_interval=mean_interval(p99s) if len(p99s) >= FEWEST_BLOCKS and all(map(math.isfinite, p99s)) else None,
        service_p99_ms=Histogram.merged(one.judged.service for one in steps).quantile_ms(0.99),
        error_share=failures / max(requests + failures, 1),
        errors=dict(sum((Counter(one.recording.errors) for one in steps), Counter())),
        cpu_ms_per_request=sum(cpu_s) / requests * 1e3 if requests and len(cpu_s) == len(used) else None,
        memory_mib=max(memory) / 2**20 if memory else None,
        curve_ms=tuple(latency.quantiles_ms(CURVE)),
    )


def floor(manifest: Manifest) -> float | None:
    """Return the p99 (milliseconds) that the generator shows at rates it can make itself; None: it was not calibrated."""
    limits = manifest.limits
    able = [
        e for e in manifest.calibration if e.generator_cpu_share <= limits.generator_cpu_share and e.achieved_share >= limits.achieved_share
    ]
    return max((entry.p99_ms for entry in able), default=None)


def _below_floor(manifest: Manifest, seen: Sequence[CandidateAnswer]) -> dict[float, float]:
    """Return the rates at which candidates differ by less than the generator itself adds: no verdict on those."""
    loads: dict[float, list[float]] = defaultdict(list)
    for rate in (rate for one in seen for rate in one.rates):
        loads[rate.load].append(rate.p99_ms)
    spreads = {load: max(values) - min(values) for load, values in sorted(loads.items()) if len(values) > 1}
    return {load: spread for load, spread in spreads.items() if spread < (floor(manifest) or 0.0)}
