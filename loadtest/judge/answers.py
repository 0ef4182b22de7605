"""From records to answers: the same whenever it is asked. What is judged was fixed in the manifest before the run."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from loadtest.judge.inference import FEWEST_BLOCKS, Comparison, Interval, compare, interval
from loadtest.judge.knee import evidence_of, knee_of, knees_by_block
from loadtest.judge.plausibility import Note, notes
from loadtest.judge.slices import JudgedSlice, judge_slices
from loadtest.plan import blocks_for, minutes, sees
from loadtest.records.histogram import Histogram
from loadtest.records.model import Candidate, Manifest, Workload
from loadtest.records.slices import Loss, Record, Slice, Start

Part = Literal["server", "gateway", "rest"]
MOST_INVALID = 0.5  # of the slices of a workload
PARTS: tuple[Part, ...] = ("server", "gateway", "rest")
BANDS = (0.85, 1.0, 1.2)  # of the candidate's own knee: calm, near, just above, overloaded
# Of the rounds of a block the outermost fifth on either side is left out: what took the machine for a moment.
TRIMMED = 0.2
# A percentile from fewer is a guess: ten requests must lie beyond it.
BEYOND = 10
DIFFERENCES = (0.05, 0.1)
# A difference is known when its interval reaches no further than this from the ratio: "5.8 times [1.5 to 23]" tells nobody anything.
TELLS = 0.5


@dataclass(frozen=True)
class AtShare:
    """A candidate in one band of rates around its own knee, all believed slices together. `share`: of the knee. None: too few requests."""

    share: float
    rate_per_s: float
    slices: int
    requests: int
    p50_ms: float | None
    p99_ms: float | None
    max_ms: float
    error_share: float
    errors: dict[str, int]


@dataclass(frozen=True)
class Failure:
    """Why a candidate has no throughput at the objective: the lowest rate that was tried, and what happened there."""

    rate_per_s: float
    longest_ms: float
    error_share: float
    mostly: str  # kind of error; "": too slow


@dataclass(frozen=True)
class Compared:
    """A ratio of two candidates' figures, from so many blocks."""

    interval: Interval
    comparison: Comparison
    blocks: int
    spread: float  # standard deviation of one block's log ratio

    def inverse(self) -> Compared:
        return Compared(self.interval.inverse(), self.comparison.inverse(), self.blocks, self.spread)


@dataclass(frozen=True)
class Pair:
    """`other` against `base`: throughput at the objective, and processor time of the server for a request.

    `rests_on`: what the verdict is from. Where the work only computes, whoever needs less for a request carries more.
    """

    base: str
    other: str
    knee: Compared | None
    cpu: Compared | None
    rests_on: Literal["knee", "cpu"] = "knee"

    @property
    def _verdict(self) -> Compared | None:
        return self.cpu.inverse() if self.rests_on == "cpu" and self.cpu else self.knee

    @property
    def interval(self) -> Interval | None:
        """How many times as much `other` carries; None: cannot be told."""
        return self._verdict.interval if self._verdict else None

    @property
    def comparison(self) -> Comparison:
        """Whether `other` carries more."""
        return self._verdict.comparison if self._verdict else Comparison.UNDECIDED

    def turned(self) -> Pair:
        knee, cpu = (one.inverse() if one else None for one in (self.knee, self.cpu))
        return Pair(self.other, self.base, knee, cpu, self.rests_on)


@dataclass(frozen=True)
class CandidateAnswer:
    """One candidate under one workload. `slices`: believed ones; `knees_per_s`: what each block contributes to its throughput.

    `cpu_us`: processor time of each part for a right answer, in microseconds. `per_request`: context switches, waited_us for a processor,
    bytes; medians over the slices, as far as they can be read. `start_s`, `memory_mib`: medians over the blocks.
    """

    candidate: Candidate
    slices: int
    invalid: int
    knees_per_s: dict[int, float]
    throughput: Interval | None
    cpu_us: dict[Part, Interval]
    per_request: dict[str, float]
    curve: tuple[AtShare, ...]
    failure: Failure | None
    lost: Loss | None
    start_s: float | None
    memory_mib: float | None
    against_baseline: Pair | None = None

    @property
    def able(self) -> bool:
        """Whether it was there to the end, held the objective, and in enough blocks to say so."""
        return not self.failure and not self.lost and len(self.knees_per_s) >= FEWEST_BLOCKS


@dataclass(frozen=True)
class Answer:
    """What a run says about one workload.

    `sees`, `cpu_sees`: the smallest differences that such a run finds four times of five; None: unknown. `needs`: difference that it does
    not see -> minutes of a run that does.
    """

    workload: Workload
    candidates: tuple[CandidateAnswer, ...]
    pairs: tuple[Pair, ...]
    recommended: str | None
    sees: float | None
    cpu_sees: float | None
    needs: dict[float, float]
    notes: tuple[Note, ...]

    def between(self, base: str, other: str) -> Pair | None:
        """Return `other` against `base`, whichever way it was compared."""
        return next((pair for pair in _both_ways(self.pairs) if (pair.base, pair.other) == (base, other)), None)


@dataclass(frozen=True)
class RunAnswers:
    """All answers of a run, and all its slices, believed or not. `idle_share`: of a core, by all candidates that had nothing to do."""

    manifest: Manifest
    answers: tuple[Answer, ...]
    slices: tuple[JudgedSlice, ...]
    losses: tuple[Loss, ...]
    floor_ms: float | None
    idle_share: float | None


def answer_run(manifest: Manifest, records: Sequence[Record]) -> RunAnswers:
    """Judge a run from its records."""
    judged = judge_slices(manifest, [one for one in records if isinstance(one, Slice)])
    starts = [one for one in records if isinstance(one, Start)]
    losses = {one.candidate: one for one in records if isinstance(one, Loss)}
    answers = tuple(_answer(manifest, work, [one for one in judged if one.workload == work], starts, losses) for work in manifest.workloads)
    idle = [one.slice.idle_cpu_ns / 1e9 / one.slice.duration_s for one in judged if one.slice.idle_cpu_ns is not None]
    idle_share = float(np.median(idle)) if idle else None
    return RunAnswers(manifest, answers, tuple(judged), tuple(losses.values()), floor(manifest), idle_share)


def undecided(manifest: Manifest, slices: Sequence[JudgedSlice]) -> set[tuple[str, str]]:
    """Return each (candidate, workload) that still needs slices, to be asked at the end of each block: a look. Empty: all is known.

    Where nothing is compared, the time alone ends the run.
    """
    everything = {(candidate.name, work.name) for candidate in manifest.candidates for work in manifest.workloads}
    if len(manifest.candidates) == 1 or not manifest.gives_verdict:
        return everything
    left: set[tuple[str, str]] = set()
    for work in manifest.workloads:
        here = [one for one in slices if one.workload == work]
        own, now = _by_candidate(manifest, here), max((one.slice.block for one in here), default=0)
        present = {one.slice.candidate for one in here if one.slice.block == now}  # who was lost, or is known, tells no more of the others
        failed = {name for name in present if _failure(own[name]) and len({one.slice.block for one in own[name]}) >= FEWEST_BLOCKS}
        pairs = _pairs(manifest, work, {name: seen for name, seen in own.items() if name in present - failed})
        left |= {(name, work.name) for pair in pairs if not _known(pair, manifest) for name in (pair.base, pair.other)}
    return left


def _known(pair: Pair, manifest: Manifest) -> bool:
    """Say whether a pair needs no more blocks: what is recommended rests on more than that there is a difference, and so does a reader."""
    if pair.interval is None:
        return False
    within = pair.interval.high / pair.interval.ratio - 1
    if manifest.sees is not None and within <= manifest.sees:  # the difference that was asked for would have been seen
        return True
    outside = pair.interval.low > 1 + manifest.margin or pair.interval.high < 1 / (1 + manifest.margin)
    return pair.comparison is Comparison.TIE or (outside and within <= TELLS)


def _by_candidate(manifest: Manifest, slices: Iterable[JudgedSlice]) -> dict[str, list[JudgedSlice]]:
    """Return the believed slices of each candidate."""
    found: dict[str, list[JudgedSlice]] = {candidate.name: [] for candidate in manifest.candidates}
    for one in slices:
        if not one.problems:
            found[one.slice.candidate].append(one)
    return found


def _answer(manifest: Manifest, workload: Workload, slices: list[JudgedSlice], starts: list[Start], losses: Mapping[str, Loss]) -> Answer:
    own = _by_candidate(manifest, slices)
    # Else the figures are those of another machine than the reader thinks of: nothing is compared.
    enough = len(slices) - sum(map(len, own.values())) <= MOST_INVALID * len(slices)
    pairs = _pairs(manifest, workload, own) if enough else ()
    knee, cpu = _spread(pair.knee for pair in pairs), _spread(pair.cpu for pair in pairs)
    to_baseline = {pair.other: pair for pair in _both_ways(pairs) if pair.base == manifest.baseline}
    seen = tuple(
        replace(
            _candidate(candidate, own[candidate.name], [one for one in starts if one.candidate == candidate.name]),
            invalid=sum(one.slice.candidate == candidate.name for one in slices) - len(own[candidate.name]),
            lost=losses.get(candidate.name),
            against_baseline=to_baseline.get(candidate.name),
        )
        for candidate in manifest.candidates
    )
    return Answer(
        workload=workload,
        candidates=seen,
        pairs=pairs,
        recommended=recommend(seen, pairs, manifest.margin) if manifest.gives_verdict and enough else None,
        sees=sees(knee, manifest, manifest.pace.blocks) if knee else None,
        cpu_sees=sees(cpu, manifest, manifest.pace.blocks) if cpu else None,
        needs=dict(_needs(manifest, knee)) if knee else {},
        notes=notes(workload, own, {one.candidate: one.proof for one in starts}, manifest),
    )


def _candidate(candidate: Candidate, own: list[JudgedSlice], starts: list[Start]) -> CandidateAnswer:
    failure = _failure(own)
    knees = knees_by_block([evidence_of(one) for one in own]) if own and not failure else {}
    memory = [one.memory_bytes for one in starts if one.memory_bytes is not None]
    started = [one.start_s for one in starts if one.start_s is not None]
    costs = {part: list(_blocks(own, part).values()) for part in PARTS}
    return CandidateAnswer(
        candidate=candidate,
        slices=len(own),
        invalid=0,
        knees_per_s={block: math.exp(value) for block, value in knees.items()},
        throughput=interval(list(knees.values())) if len(knees) >= FEWEST_BLOCKS else None,
        cpu_us={part: interval(values) for part, values in costs.items() if len(values) >= FEWEST_BLOCKS},
        per_request=_per_request(own),
        curve=tuple(_curve(own)) if knees else (),
        failure=failure,
        lost=None,
        start_s=float(np.median(started)) if started else None,
        memory_mib=float(np.median(memory)) / 2**20 if memory else None,
    )


def _per_request(own: Sequence[JudgedSlice]) -> dict[str, float]:
    found: dict[str, list[float]] = defaultdict(list)
    for one in (one for one in own if one.slice.calm):
        used, bytes_ = one.slice.server, one.recording.received_bytes
        for name, value, scale in (("switches", used.switches, 1.0), ("waited_us", used.waited_ns, 1e-3), ("bytes", bytes_, 1.0)):
            if value is not None and one.right:
                found[name].append(value * scale / one.right)
    return {name: float(np.median(values)) for name, values in found.items()}


def _failure(own: Sequence[JudgedSlice]) -> Failure | None:
    if not own or any(one.holds for one in own):
        return None
    lowest = min(own, key=lambda one: (not one.right + one.failures, one.slice.rate_per_s))
    kinds = lowest.recording.errors
    wrong = lowest.error_share > lowest.limits.error_share
    mostly = max(kinds, key=lambda kind: kinds[kind], default="dropped arrivals") if wrong else ""
    longest_ms = lowest.judged.latency.quantile_ms(1.0) if lowest.judged.latency.count else math.inf
    return Failure(lowest.slice.rate_per_s, longest_ms, lowest.error_share, mostly)


def _pairs(manifest: Manifest, workload: Workload, own: Mapping[str, list[JudgedSlice]]) -> tuple[Pair, ...]:
    """Compare every candidate with every other, in the blocks where both have believed slices."""
    figures = 2 if workload.computes else 1  # a verdict may rest on either
    comparisons = max(math.comb(len(manifest.candidates), 2), 1) * figures
    return tuple(_pair(manifest, workload, names, (own[names[0]], own[names[1]]), comparisons) for names in itertools.combinations(own, 2))


def _pair(
    manifest: Manifest, workload: Workload, names: tuple[str, str], seen: tuple[list[JudgedSlice], list[JudgedSlice]], comparisons: int
) -> Pair:
    common = set.intersection(*({one.slice.block for one in own} for own in seen))
    both = [[one for one in own if one.slice.block in common] for own in seen]

    def compared(logs: list[float]) -> Compared | None:
        if len(logs) < FEWEST_BLOCKS:
            return None
        found = interval(logs, looks=manifest.pace.blocks, comparisons=comparisons, confidence=manifest.confidence)
        return Compared(found, compare(found, manifest.margin), len(logs), float(np.std(logs, ddof=1)))

    knees: list[dict[int, float]] = [] if any(_failure(own) for own in seen) else [knees_by_block([*map(evidence_of, own)]) for own in both]
    knee = compared([knees[1][block] - knees[0][block] for block in sorted(common)] if knees and common else [])
    cpu = compared(list(_blocks(both[1], "server", both[0]).values()))
    known = knee and knee.comparison is not Comparison.UNDECIDED
    by_cpu = workload.computes and not known and cpu is not None and cpu.comparison is not Comparison.UNDECIDED
    return Pair(*names, knee, cpu, "cpu" if by_cpu else "knee")


def _blocks(own: Sequence[JudgedSlice], part: Part, base: Sequence[JudgedSlice] = ()) -> dict[int, float]:
    """Return for each block the logarithm of the processor time for a request, or of its ratio to that of `base` in the same rounds.

    A trimmed mean over the calm rounds of the block, in which all had the same rate. Slices of a round are neighbours in time: what
    slowed one slowed the other.
    """
    beside = {one.slice.round: one.cpu_us(part) for one in base}
    logs: dict[int, list[float]] = defaultdict(list)
    for one in (one for one in own if one.slice.calm):
        cost, other = one.cpu_us(part), beside.get(one.slice.round) if base else 1.0
        if cost and other:
            logs[one.slice.block].append(math.log(cost / other))
    cut = {block: int(TRIMMED * len(values)) for block, values in logs.items()}
    return {block: float(np.mean(sorted(values)[cut[block] : len(values) - cut[block]])) for block, values in sorted(logs.items())}


def _curve(own: Sequence[JudgedSlice]) -> Iterable[AtShare]:
    knee_per_s = math.exp(knee_of([evidence_of(one) for one in own]))
    bands: dict[int, list[JudgedSlice]] = defaultdict(list)
    for one in own:
        bands[sum(one.slice.rate_per_s > bound * knee_per_s for bound in BANDS)].append(one)
    for _, band in sorted(bands.items()):
        latency = Histogram.merged(one.judged.latency for one in band)
        rate, right, failures = (sum(values) for values in zip(*((o.slice.rate_per_s, o.right, o.failures) for o in band), strict=True))
        yield AtShare(
            share=rate / len(band) / knee_per_s,
            rate_per_s=rate / len(band),
            slices=len(band),
            requests=latency.count,
            p50_ms=percentile_ms(latency, 0.5),
            p99_ms=percentile_ms(latency, 0.99),
            max_ms=latency.quantile_ms(1.0),
            error_share=failures / max(right + failures, 1),
            errors=dict(sum((Counter(one.recording.errors) for one in band), Counter())),
        )


def percentile_ms(latency: Histogram, quantile: float) -> float | None:
    """Return a percentile, from no fewer requests than it takes for ten of them to lie beyond."""
    return latency.quantile_ms(quantile) if latency.count * (1 - quantile) >= BEYOND - 1e-9 else None


def _spread(figures: Iterable[Compared | None]) -> float | None:
    spreads = [one.spread for one in figures if one]
    return float(np.median(spreads)) if spreads else None


def _needs(manifest: Manifest, spread: float) -> Iterable[tuple[float, float]]:
    for difference in DIFFERENCES:
        blocks = blocks_for(difference, spread, manifest)
        if blocks and blocks > manifest.pace.blocks:
            yield difference, minutes(manifest, blocks)


def _both_ways(pairs: Iterable[Pair]) -> Iterable[Pair]:
    return (seen for pair in pairs for seen in (pair, pair.turned()))


def recommend(seen: Sequence[CandidateAnswer], pairs: Sequence[Pair], margin: float) -> str | None:
    """Return the simplest server that no other was shown to beat by more than the margin; None when none has enough blocks.

    The whole interval must lie beyond it, or one run would call for the simpler and the next for another, over 8 % [2 to 15].
    A simpler one beats by any difference that was shown.
    """
    simplicity = {one.candidate.name: one.candidate.simplicity for one in seen if not one.candidate.limit}
    compared = (pair for pair in _both_ways(pairs) if {pair.base, pair.other} <= simplicity.keys())
    beaten = {
        pair.base
        for pair in compared
        if (pair.interval and pair.interval.low > 1 + margin)
        or (pair.comparison is Comparison.HIGHER and simplicity[pair.other] < simplicity[pair.base])
    }
    best = [one.candidate.name for one in seen if one.able and one.candidate.name in simplicity.keys() - beaten]
    return min(best, key=lambda name: simplicity[name], default=None)


def floor(manifest: Manifest) -> float | None:
    """Return the p99 (milliseconds) that the generator shows at rates it can make itself; None: it was not calibrated."""
    limits = manifest.limits
    able = [
        e for e in manifest.calibration if e.generator_cpu_share <= limits.generator_cpu_share and e.achieved_share >= limits.achieved_share
    ]
    return max((entry.p99_ms for entry in able), default=None)
