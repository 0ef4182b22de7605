"""Runs that never took place, with a truth that is known: for tests of the judge and of the report, never shown as results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from loadtest.catalogue import load_candidates, load_workloads
from loadtest.plan import PROFILES
from loadtest.records.histogram import Histogram
from loadtest.records.model import Calibration, Candidate, Cell, Limits, Machine, Manifest, Step, Usage, Workload
from loadtest.records.recording import Recording, Series
from loadtest.records.store import Store

MACHINE = Machine(
    cpu_model="Synthetic processor",
    cpus=2,
    cpu_quota=None,
    memory_bytes=8 * 2**30,
    kernel="none",
    system="none: these figures were computed",
    python="3.11",
    versions={"locust": "0"},
    git_commit="0000000",
    runtime="local",
)
PROOF: dict[str, Any] = {"worker_class": "synthetic", "slots_per_process": 1, "database_pool_size": 8, "timeout_s": 30}
STEP_S = 10.0
KNEE_RATES = (0.5, 0.71, 1.0, 1.41)  # of the true capacity


def manifest(candidates: tuple[str, ...], workloads: tuple[str, ...], **changes: Any) -> Manifest:
    known, works = load_candidates(), load_workloads()
    plan = Manifest(
        run="synthetic",
        created="2026-01-01T00:00:00+00:00",
        command="make loadtest",
        profile="quick",
        gives_verdict=True,
        synthetic=True,
        seed=1,
        blocks=8,
        baseline=candidates[0],
        margin=0.05,
        confidence=0.95,
        rates=(0.5, 0.7, 0.9, 1.2),
        pace=replace(PROFILES["full"].pace, step_s=STEP_S),
        candidates=tuple(known[name] for name in candidates),
        workloads=tuple(works[name] for name in workloads),
        limits=Limits(),
        machine=MACHINE,
        calibration=(Calibration(rate_per_s=1000.0, p50_ms=0.8, p99_ms=2.1, slip_p99_ms=1.4, generator_cpu_share=0.2, achieved_share=1.0),),
    )
    return replace(plan, **changes)


def recording(workload: Workload, rate_per_s: float, capacity_per_s: float, chance: np.random.Generator, errors: int = 0) -> Recording:
    """A queue in outline: latency grows as the rate nears the capacity, and with time above it."""
    offered = max(round(rate_per_s * STEP_S), 1)
    base_ms = max(workload.service_ms, 2.0)
    load = rate_per_s / capacity_per_s
    waiting_ms = 0.05 * base_ms / max(1 - load, 0.02) if load < 1 else workload.slo_ms * 4 * (load - 1) + base_ms * 8
    let_in = min(offered, round(capacity_per_s * STEP_S))
    latency_s = (base_ms * chance.lognormal(0, 0.1, let_in) + waiting_ms * chance.exponential(1, let_in)) / 1e3
    right_s, wrong_s = latency_s[errors:], latency_s[:errors]
    series = Series(Histogram.of_seconds(right_s), Histogram.of_seconds(right_s * 0.9), Histogram.of_seconds(wrong_s))
    return Recording(
        duration_s=STEP_S,
        offered=offered,
        dropped=offered - let_in,
        unfinished=0,
        slip=Histogram.of_seconds(chance.exponential(0.0008, let_in)),
        series={workload.judged: series},
        errors={"status 502": errors} if errors else {},
    )


def step(
    workload: Workload, rate_per_s: float, capacity_per_s: float, chance: np.random.Generator, load: float | None = None, **changes: Any
) -> Step:
    seen = recording(workload, rate_per_s, capacity_per_s, chance, int(changes.pop("errors", 0)))
    answered = seen.all.latency.count
    made = Step(
        load=load,
        rate_per_s=rate_per_s,
        duration_s=STEP_S,
        warm_up_s=2.0,
        settled=True,
        recording=seen,
        generator_cpu_share=0.2,
        in_flight_mean=answered / STEP_S * seen.all.service.mean_ms / 1e3,
        server=Usage(cpu_s=answered * 0.8e-3, memory_bytes=120 * 2**20, throttled_s=0.0, processes=3),
        gateway=Usage(cpu_s=answered * 0.1e-3),
        steal_share=0.0,
        others_cpu_share=0.01,
    )
    return replace(made, **changes)


def cell(workload: Workload, candidate: Candidate, block: int, **parts: Any) -> Cell:
    return Cell(workload=workload.name, candidate=candidate.name, block=block, started="2026-01-01T00:00:00+00:00", proof=PROOF, **parts)


def run(plan: Manifest, capacity_per_s: Mapping[tuple[str, str], float], *, noise: float = 0.04, seed: int = 1) -> list[Cell]:
    """Return all cells of a run; `capacity_per_s` by (workload, candidate), what is not there has 200/s."""
    chance = np.random.default_rng(seed)
    cells = []
    for workload in plan.workloads:
        truths = {candidate.name: capacity_per_s.get((workload.name, candidate.name), 200.0) for candidate in plan.candidates}
        weakest = min(truths.values())
        for block in range(plan.blocks):
            machine = chance.normal(0, 0.08)
            for candidate in plan.candidates:
                capacity = truths[candidate.name] * np.exp(machine + chance.normal(0, noise))
                search = tuple(step(workload, truths[candidate.name] * share, capacity, chance) for share in KNEE_RATES)
                cells.append(cell(workload, candidate, block, kind="knee", steps=search))
                rates = tuple(step(workload, weakest * load * 0.9, capacity, chance, load) for load in plan.rates)
                cells.append(cell(workload, candidate, block, kind="rates", steps=rates))
    return cells


def stored(folder: Path, plan: Manifest, cells: list[Cell]) -> Store:
    store = Store.create(folder, plan)
    for one in cells:
        store.save(one)
    return store
