"""From records to answers: pure, the same whenever it is asked. What is judged was fixed in the manifest before the run."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from loadtest.histogram import Histogram
from loadtest.inference import FEWEST_BLOCKS, Interval, Verdict, judge, mean_interval, ratio_interval, smallest_difference
from loadtest.knee import Outcome, knee_of
from loadtest.plausibility import contradictions, ladder, misdeployments
from loadtest.records import Candidate, Cell, Manifest, Workload
from loadtest.scaling import Scaling, fit

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
    gateway_cpu_ms_per_request: float | None
    memory_mib: float | None
    curve_ms: tuple[float, ...]


@dataclass(frozen=True)
class Seen:
    """One candidate under one workload. `knees`: of its valid runs, by block. `against_baseline`: None when that cannot be said."""

    candidate: Candidate
    knees_per_s: dict[int, float]
    throughput: Interval | None
    against_baseline: Interval | None
    verdict: Verdict | None
    failed: str
    rates: tuple[AtRate, ...]
    search: tuple[tuple[float, float, float, bool], ...]  # (rate, p50, p99, held) of every valid step of the searches
    ladder: dict[int, float]  # visitors without a pause -> right answers a second; empty: not measured
    scaling: Scaling | None  # None: too few levels, or the law does not fit
    invalid: tuple[str, ...]


@dataclass(frozen=True)
class Pair:
    """`other` against `base`: a ratio of throughputs at the objective."""

    base: str
    other: str
    interval: Interval
    verdict: Verdict

    def turned(self) -> Pair:
        """Return `base` against `other`."""
        opposite = {Verdict.HIGHER: Verdict.LOWER, Verdict.LOWER: Verdict.HIGHER}
        return Pair(self.other, self.base, self.interval.inverse(), opposite.get(self.verdict, self.verdict))


@dataclass(frozen=True)
class Answer:
    """What a run says about one workload."""

    workload: Workload
    seen: tuple[Seen, ...]
    pairs: tuple[Pair, ...]
    recommended: str | None
    sentence: str
    sees: float | None  # the smallest difference that this run finds four times of five, as a share; None: unknown
    notes: tuple[str, ...]
    faster_than_floor: tuple[str, ...] = ()


@dataclass(frozen=True)
class Check:
    """One line of the validity strip."""

    cell: Cell
    problems: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Results:
    """All answers of a run."""

    manifest: Manifest
    answers: tuple[Answer, ...]
    checks: tuple[Check, ...]
    missing: int


def results(manifest: Manifest, cells: Sequence[Cell]) -> Results:
    """Judge a run from its records."""
    last = _last_attempts(cells)
    answers = tuple(_answer(manifest, workload, [c for c in last if c.workload == workload.name]) for workload in manifest.workloads)
    expected = len(manifest.workloads) * len(manifest.candidates) * manifest.blocks
    checks = tuple(Check(cell, (*cell.invalid, *(p for step in cell.steps for p in step.problems))) for cell in cells)
    return Results(manifest, answers, checks, max(expected - sum(cell.kind == "knee" for cell in last), 0))


def _last_attempts(cells: Iterable[Cell]) -> list[Cell]:
    """Return one cell for each place in the plan: an invalid run that was repeated gives way to its repetition."""
    last: dict[tuple[str, str, int, str], Cell] = {}
    for cell in sorted(cells, key=lambda c: c.attempt):
        last[cell.workload, cell.candidate, cell.block, cell.kind] = cell
    return list(last.values())


def _answer(manifest: Manifest, workload: Workload, cells: list[Cell]) -> Answer:
    seen = [_seen(manifest, workload, candidate, [c for c in cells if c.candidate == candidate.name]) for candidate in manifest.candidates]
    pairs = _pairs(manifest, seen)
    base = manifest.baseline
    seen = [_against(base, one, pairs) for one in seen]
    recommended = recommend(seen, pairs, manifest.margin) if manifest.gives_verdict else None
    notes = (*contradictions(workload, cells, manifest), *misdeployments(workload, cells, manifest))
    return Answer(
        workload=workload,
        seen=tuple(seen),
        pairs=pairs,
        recommended=recommended,
        sentence=_sentence(manifest, workload, seen, pairs, recommended),
        sees=_sees(manifest, seen),
        notes=tuple(dict.fromkeys(notes)),
        faster_than_floor=_below_floor(manifest, seen),
    )


def _seen(manifest: Manifest, workload: Workload, candidate: Candidate, cells: list[Cell]) -> Seen:
    valid = [cell for cell in cells if not cell.invalid]
    searches = {cell.block: [Outcome(step, workload) for step in cell.steps] for cell in valid if cell.kind == "knee"}
    knees = {block: knee_of(outcomes, manifest.limits) for block, outcomes in searches.items()}
    found = {block: knee for block, knee in sorted(knees.items()) if knee is not None}
    steps = [outcome for outcomes in searches.values() for outcome in outcomes if not outcome.step.problems]
    climbed = ladder(Outcome(step, workload) for cell in valid for step in cell.steps)
    search = [(o.step.rate_per_s, o.judged.latency.quantile_ms(0.5), o.p99_ms, o.holds(manifest.limits)) for o in steps]
    return Seen(
        candidate=candidate,
        knees_per_s=found,
        throughput=mean_interval(list(found.values())) if len(found) >= FEWEST_BLOCKS and min(found.values()) > 0 else None,
        against_baseline=None,
        verdict=None,
        failed=_failure(workload, found, steps, manifest),
        rates=_rates(workload, valid),
        search=tuple(sorted(search)),
        ladder=climbed,
        scaling=fit(climbed),
        invalid=tuple(f"block {cell.block}: {reason}" for cell in cells for reason in cell.invalid),
    )


def _failure(workload: Workload, found: dict[int, float], steps: list[Outcome], manifest: Manifest) -> str:
    """Say why a candidate has no throughput at the objective, or "" when it has."""
    if not found or max(found.values()) > 0:
        return ""
    lowest = min(steps, key=lambda o: o.step.rate_per_s)
    if lowest.error_share > manifest.limits.error_share:
        kind = max(lowest.recording.errors, key=lambda k: lowest.recording.errors[k], default="dropped arrivals")
        return f"{lowest.error_share:.1%} errors at {lowest.step.rate_per_s:.0f}/s, mostly {kind}"
    return f"p99 {lowest.p99_ms:.0f} ms at {lowest.step.rate_per_s:.0f}/s, above {workload.slo_ms:g} ms"


def _pairs(manifest: Manifest, seen: list[Seen]) -> tuple[Pair, ...]:
    """Compare every candidate with every other, in the blocks where both have a valid run."""
    combinations = list(itertools.combinations(seen, 2))
    pairs = []
    for base, other in combinations:
        blocks = sorted(base.knees_per_s.keys() & other.knees_per_s.keys())
        first, second = ([one.knees_per_s[block] for block in blocks] for one in (base, other))
        if len(blocks) < FEWEST_BLOCKS or min(*first, *second) <= 0:
            continue
        interval = ratio_interval(first, second, comparisons=len(combinations), confidence=manifest.confidence)
        pairs.append(Pair(base.candidate.name, other.candidate.name, interval, judge(interval, manifest.margin)))
    return tuple(pairs)


def between(base: str, other: str, pairs: Iterable[Pair]) -> Pair | None:
    """Return `other` against `base`, whichever way it was compared."""
    for pair in pairs:
        if (pair.base, pair.other) == (base, other):
            return pair
        if (pair.other, pair.base) == (base, other):
            return pair.turned()
    return None


def _against(base: str, one: Seen, pairs: tuple[Pair, ...]) -> Seen:
    pair = between(base, one.candidate.name, pairs)
    return replace(one, against_baseline=pair.interval, verdict=pair.verdict) if pair else one


def recommend(seen: Sequence[Seen], pairs: Sequence[Pair], margin: float) -> str | None:
    """Return the simplest candidate that no other was shown to beat by more than the margin; None when none has enough valid runs.

    The whole interval must lie beyond it, or one run would call for the simpler and the next for another, over 8 % [2 to 15].
    A simpler one beats by any difference that was shown.
    """
    able = [one for one in seen if not one.failed and len(one.knees_per_s) >= FEWEST_BLOCKS and min(one.knees_per_s.values()) > 0]
    simplicity = {one.candidate.name: one.candidate.simplicity for one in seen}
    beaten = {
        pair.base
        for pair in (*pairs, *(pair.turned() for pair in pairs))
        if pair.interval.low > 1 + margin or (pair.verdict is Verdict.HIGHER and simplicity[pair.other] < simplicity[pair.base])
    }
    best = [one for one in able if one.candidate.name not in beaten]
    return min(best, key=lambda one: one.candidate.simplicity).candidate.name if best else None


def _sentence(manifest: Manifest, workload: Workload, seen: list[Seen], pairs: tuple[Pair, ...], recommended: str | None) -> str:
    """Say it in one sentence or two, with the interval."""
    goal = f"with p99 ≤ {workload.slo_ms:g} ms"
    if not manifest.gives_verdict:
        return f"No verdict: the profile {manifest.profile} only shows that everything works."
    if recommended is None:
        short = [one.candidate.name for one in seen if len(one.knees_per_s) < FEWEST_BLOCKS]
        why = f"fewer than {FEWEST_BLOCKS} valid runs of {_list(short)}" if short else "no candidate held the objective"
        return f"No verdict: {why}."
    others = {one.candidate.name: between(recommended, one.candidate.name, pairs) for one in seen if one.candidate.name != recommended}
    groups: dict[Verdict | None, list[str]] = defaultdict(list)
    for name, pair in others.items():
        groups[pair.verdict if pair else None].append(name)
    more = [_times(pair) for name in groups[Verdict.LOWER] if (pair := others[name])]
    parts = [f"carries {_list(more)}, {goal}"] if more else []
    if groups[Verdict.HIGHER]:
        less = _list([_times(pair) for name in groups[Verdict.HIGHER] if (pair := others[name])])
        parts.append(f"carries {less}, not shown to be more than {manifest.margin:.0%} less, and {recommended} is simpler")
    if groups[Verdict.TIE]:
        parts.append(
            f"{_list(groups[Verdict.TIE])} {_is(groups[Verdict.TIE])} a tie (within ±{manifest.margin:.0%}), {recommended} is the simplest"
        )
    if groups[Verdict.UNDECIDED]:
        sees = _sees(manifest, seen)
        seen_from = f"; this run sees {sees:.0%} or more" if sees is not None else ""
        parts.append(f"no difference shown to {_list(groups[Verdict.UNDECIDED])}{seen_from}, {recommended} is the simplest")
    failed = [one.candidate.name for one in seen if one.failed]
    if failed:
        parts.append(f"{_list(failed)} did not hold the objective at any rate")
    few = [one.candidate.name for one in seen if not one.failed and len(one.knees_per_s) < FEWEST_BLOCKS]
    if few:
        parts.append(f"too few valid runs of {_list(few)}")
    return f"{recommended}: {'; '.join(parts)}." if parts else f"{recommended}: the only candidate."


def _times(pair: Pair) -> str:
    turned = pair.interval.inverse()
    return f"{turned.ratio:.2f} times as much as {pair.other} [{turned.low:.2f} to {turned.high:.2f}]"


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _is(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _sees(manifest: Manifest, seen: Sequence[Seen]) -> float | None:
    """Return the smallest difference that runs as noisy as these find, from the median spread of all pairs."""
    spreads = []
    for base, other in itertools.combinations(seen, 2):
        blocks = sorted(base.knees_per_s.keys() & other.knees_per_s.keys())
        logs = [
            math.log(other.knees_per_s[b] / base.knees_per_s[b]) for b in blocks if base.knees_per_s[b] > 0 and other.knees_per_s[b] > 0
        ]
        if len(logs) >= FEWEST_BLOCKS:
            spreads.append(float(np.std(logs, ddof=1)))
    if not spreads:
        return None
    comparisons = len(seen) * (len(seen) - 1) // 2
    return smallest_difference(float(np.median(spreads)), manifest.blocks, comparisons=comparisons, margin=manifest.margin)


def _rates(workload: Workload, cells: list[Cell]) -> tuple[AtRate, ...]:
    by_load: dict[float, list[Outcome]] = defaultdict(list)
    for cell in cells:
        for step in cell.steps:
            if step.purpose == "rate" and step.load is not None and not step.problems:
                by_load[step.load].append(Outcome(step, workload))
    return tuple(_at_rate(load, outcomes) for load, outcomes in sorted(by_load.items()))


def _at_rate(load: float, outcomes: list[Outcome]) -> AtRate:
    latency = Histogram.merged(outcome.judged.latency for outcome in outcomes)
    p50, p90, p99 = latency.quantiles_ms((0.5, 0.9, 0.99))
    p99s = [outcome.p99_ms for outcome in outcomes]
    requests = sum(outcome.recording.series["all"].latency.count for outcome in outcomes)
    memory = [outcome.step.server.memory_bytes for outcome in outcomes if outcome.step.server.memory_bytes is not None]
    failures = sum(outcome.failures for outcome in outcomes)
    return AtRate(
        load=load,
        rate_per_s=float(np.median([outcome.step.rate_per_s for outcome in outcomes])),
        runs=len(outcomes),
        goodput_per_s=float(np.mean([outcome.goodput_per_s for outcome in outcomes])),
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
        p99_interval=mean_interval(p99s) if len(p99s) >= FEWEST_BLOCKS and all(map(math.isfinite, p99s)) else None,
        service_p99_ms=Histogram.merged(outcome.judged.service for outcome in outcomes).quantile_ms(0.99),
        error_share=failures / max(requests + failures, 1),
        errors=dict(sum((Counter(outcome.recording.errors) for outcome in outcomes), Counter())),
        cpu_ms_per_request=_per_request([outcome.step.server.cpu_s for outcome in outcomes], requests),
        gateway_cpu_ms_per_request=_per_request([outcome.step.gateway.cpu_s for outcome in outcomes], requests),
        memory_mib=max(memory) / 2**20 if memory else None,
        curve_ms=tuple(latency.quantiles_ms(CURVE)),
    )


def _per_request(cpu_s: Sequence[float | None], requests: int) -> float | None:
    known = [value for value in cpu_s if value is not None]
    return sum(known) / requests * 1e3 if requests and len(known) == len(cpu_s) else None


def floor(manifest: Manifest) -> float | None:
    """Return the p99 (milliseconds) that the generator shows at rates it can make itself; None: it was not calibrated."""
    limits = manifest.limits
    able = [
        e for e in manifest.calibration if e.generator_cpu_share <= limits.generator_cpu_share and e.achieved_share >= limits.achieved_share
    ]
    return max((entry.p99_ms for entry in able), default=None)


def _below_floor(manifest: Manifest, seen: Sequence[Seen]) -> tuple[str, ...]:
    """Name the rates at which candidates differ by less than the generator itself adds: no verdict on those."""
    floor_ms = floor(manifest) or 0.0
    loads: dict[float, list[float]] = defaultdict(list)
    for one in seen:
        for rate in one.rates:
            loads[rate.load].append(rate.p99_ms)
    return tuple(
        f"at {load:.0%} all p99 lie within {max(values) - min(values):.1f} ms, less than the floor of {floor_ms:.1f} ms"
        for load, values in sorted(loads.items())
        if len(values) > 1 and max(values) - min(values) < floor_ms
    )
