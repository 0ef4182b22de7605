"""Measure one cell: a fresh server, its proof, and steps of load with what they used."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import psutil

from loadtest.judge.steps import JudgedStep
from loadtest.measure.generation import GeneratorProcess
from loadtest.measure.machine import share_of_all, steal_s
from loadtest.measure.order import Order, StepOrder
from loadtest.measure.search import KNOWN_SHARE, KNOWN_STRIDE, Bounds, search
from loadtest.measure.servers import Reading, Server, ServerError, Servers
from loadtest.plan import Place
from loadtest.records.model import Cell, Manifest, Step, Usage, Workload, difference

# So many visitors without a pause find about what a server can do; the search begins below that.
PROBE_USERS, PROBE_SHARE, PROBE_S = 32, 0.7, 1.0
WINDOW_S = 0.25
STEP_ATTEMPTS = 2
FEWEST_REQUESTS, LONGEST_STEP = 100, 2.0


@dataclass(frozen=True)
class Bench:
    """What all cells of a run share."""

    manifest: Manifest
    servers: Servers
    generator: GeneratorProcess


@dataclass(frozen=True)
class Known:
    """What earlier cells tell about the present one. `knee_per_s`: of this candidate; None: nothing is known.

    `rates`: share of the weakest knee -> rate (per second).
    """

    knee_per_s: float | None = None
    rates: Mapping[float, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Moment:
    """Counters of the machine and of what is under test."""

    reading: Reading
    steal_s: float
    busy_s: float
    generator_s: float
    at_s: float


class Trial:
    """One candidate under one workload, started and ready."""

    def __init__(self, bench: Bench, workload: Workload, server: Server, seed: int) -> None:
        self._bench, self._workload, self._server, self._generator = bench, workload, server, bench.generator
        self._seed, self._warm = seed, False
        self.steps: list[Step] = []

    def probe(self) -> float:
        """Return about how much the server can do (per second)."""
        seen = self._generator.step(
            replace(self._order(), users=PROBE_USERS, measure_s=min(self._bench.manifest.pace.step_s, PROBE_S))
        ).recording
        self._warm = True
        return max(seen.all.latency.count / seen.duration_s, 1.0)

    def measure(self, rate_per_s: float, load: float | None = None) -> bool:
        """Hold a rate for the time of a step, and record it; once more when it is not believed. Returns whether the objective was met.

        A neighbour that takes the machine for a second must not cost a whole cell.
        """
        for _ in range(STEP_ATTEMPTS):
            order = replace(self._order(), rate_per_s=rate_per_s, measure_s=self._long_enough_s(rate_per_s))
            self._record(order, load)
            judged = JudgedStep(self.steps[-1], self._workload, self._bench.manifest.limits)
            if not judged.problems:
                break
        return judged.holds

    def _long_enough_s(self, rate_per_s: float) -> float:
        """A p99 needs a hundred requests; where they come so slowly that it would take too long, it is a maximum of fewer."""
        step_s = self._bench.manifest.pace.step_s
        return min(max(step_s, FEWEST_REQUESTS / rate_per_s), LONGEST_STEP * step_s)

    def _order(self) -> StepOrder:
        pace = self._bench.manifest.pace
        self._seed += 1
        return StepOrder(
            seed=self._seed,
            # Settled before: a short pause is enough between two rates.
            warm_up_s=pace.between_s if self._warm else pace.warm_up_s,
            warm_up_at_most_s=pace.between_s if self._warm else pace.warm_up_at_most_s,
            window_s=min(WINDOW_S, pace.between_s),
            measure_s=pace.step_s,
            patience_s=max(2 * self._workload.slo_ms / 1e3, 1.0),
        )

    def _record(self, order: StepOrder, load: float | None) -> None:
        moments: list[_Moment] = []
        seen = self._generator.step(order, lambda _: moments.append(self._moment()))
        self._warm = True
        first, last = moments
        wall_s = last.at_s - first.at_s
        server, gateway = (getattr(last.reading, part).since(getattr(first.reading, part)) for part in ("server", "gateway"))
        self.steps.append(
            Step(
                load=load,
                rate_per_s=order.rate_per_s,
                duration_s=order.measure_s,
                warm_up_s=seen.warm_up_s,
                settled=seen.settled,
                recording=seen.recording,
                generator_cpu_share=seen.cpu_share,
                in_flight_mean=seen.in_flight_mean,
                server=server,
                gateway=gateway,
                steal_share=share_of_all(last.steal_s - first.steal_s, wall_s),
                others_cpu_share=_others(first, last, wall_s, server, gateway),
            )
        )

    def _moment(self) -> _Moment:
        times = psutil.cpu_times()
        busy_s = sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "steal", 0.0)
        busy_s -= getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)  # already in user and nice
        own_s = _cpu_s(self._generator.pid)
        return _Moment(self._server.read(), steal_s(), busy_s, own_s, time.monotonic())


def measure_cell(bench: Bench, place: Place, known: Known, attempt: int) -> Cell:
    """Measure one place of the plan. Raises ServerError and GeneratorError."""
    manifest, workload = bench.manifest, place.workload
    started = datetime.now(UTC).isoformat(timespec="seconds")
    with _ready(bench, place, attempt) as (trial, proof):
        if place.kind == "knee":
            search(trial.measure, _bounds(manifest, workload, known, trial))
        for load, rate in sorted(known.rates.items()) if place.kind == "rates" else ():
            trial.measure(rate, load)
    return Cell(
        workload=workload.name,
        candidate=place.candidate.name,
        block=place.block,
        kind=place.kind,
        attempt=attempt,
        started=started,
        proof=proof,
        steps=tuple(trial.steps),
    )


def _bounds(manifest: Manifest, workload: Workload, known: Known, trial: Trial) -> Bounds:
    pace, highest = manifest.pace, workload.max_rate_per_s
    # What is known may be wrong: a search that has not found the knee goes on for as many steps more.
    most = pace.steps + pace.known_steps
    if known.knee_per_s:
        return Bounds(known.knee_per_s * KNOWN_SHARE, highest, pace.known_steps, most, KNOWN_STRIDE)
    return Bounds(trial.probe() * PROBE_SHARE, highest, pace.steps, most)


@contextmanager
def _ready(bench: Bench, place: Place, attempt: int) -> Iterator[tuple[Trial, dict[str, Any]]]:
    seed = bench.manifest.seed * 1_000_000 + place.block * 10_000 + attempt * 1000
    workload = place.workload
    with bench.servers.start(place.candidate) as server:
        proof = server.proof()
        for name, expected in place.candidate.expect.items():
            # An application that is not ours says nothing of itself: the class is known from the log, the rest is not.
            if (name in proof or name == "worker_class") and proof.get(name) != expected:
                raise ServerError(
                    f"{place.candidate.name} is not what it is called: {name} is {proof.get(name)!r}, expected {expected!r}",
                    "look at its settings in candidates.toml",
                )
        order = Order(url=server.url, mix=workload.users, background=workload.background, cpus=tuple(bench.servers.cpus))
        bench.generator.visit(order)
        # The same moments of arrival for all candidates of a block: one source of difference less.
        yield Trial(bench, workload, server, seed), proof


def _others(first: _Moment, last: _Moment, wall_s: float, server: Usage, gateway: Usage) -> float | None:
    """Return the cores that neither generator nor server nor its helpers used; None where a part cannot be read."""
    rest = difference(first.reading.rest_cpu_s, last.reading.rest_cpu_s)
    if server.cpu_s is None or gateway.cpu_s is None or rest is None:
        return None
    known_s = server.cpu_s + gateway.cpu_s + rest + last.generator_s - first.generator_s
    return max((last.busy_s - first.busy_s - known_s) / wall_s, 0.0)


def _cpu_s(pid: int) -> float:
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)
