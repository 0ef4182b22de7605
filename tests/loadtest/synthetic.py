"""Runs that never took place, with a truth that is known: for tests of the judge and of the report, never shown as results."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from loadtest.catalogue import load_candidates, load_workloads
from loadtest.judge.knee import calm_rate, next_rate
from loadtest.judge.slices import JudgedSlice
from loadtest.plan import PROFILES
from loadtest.records.histogram import Histogram
from loadtest.records.model import Calibration, Limits, Machine, Manifest, Workload
from loadtest.records.recording import Recording, Series
from loadtest.records.slices import Record, Slice, Start, Usage
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
BLOCKS, ROUNDS = 8, 5
SLICE_S = 1.0


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
        baseline=candidates[0],
        margin=0.05,
        confidence=0.95,
        pace=replace(PROFILES["quick"].pace, blocks=changes.pop("blocks", BLOCKS), rounds=ROUNDS, slice_s=SLICE_S),
        candidates=tuple(known[name] for name in candidates),
        workloads=tuple(works[name] for name in workloads),
        limits=Limits(),
        machine=MACHINE,
        calibration=(
            Calibration(
                rate_per_s=1000.0, requests=2500, p50_ms=0.8, p99_ms=2.1, slip_p99_ms=1.4, generator_cpu_share=0.2, achieved_share=1.0
            ),
        ),
    )
    return replace(plan, **changes)


def recording(workload: Workload, rate_per_s: float, capacity_per_s: float, chance: np.random.Generator, errors: int = 0) -> Recording:
    """A queue in outline: latency grows with time where the rate is above the capacity, as it does in a real one."""
    due_s = np.sort(chance.uniform(0, SLICE_S, max(chance.poisson(rate_per_s * SLICE_S), 1)))
    base_s, gap_s, number = max(workload.service_ms, 2.0) / 1e3, 1 / capacity_per_s, np.arange(len(due_s))
    waiting_s = np.maximum.accumulate(due_s - gap_s * number) + gap_s * number - due_s
    latency_s = chance.permutation(base_s * chance.lognormal(0, 0.1, len(due_s)) + waiting_s)
    right_s, wrong_s = latency_s[errors:], latency_s[:errors]
    series = Series(Histogram.of_seconds(right_s), Histogram.of_seconds(right_s * 0.9), Histogram.of_seconds(wrong_s))
    return Recording(
        duration_s=SLICE_S,
        offered=len(due_s),
        dropped=0,
        unfinished=0,
        slip=Histogram.of_seconds(chance.exponential(0.0008, len(due_s))),
        series={workload.judged: series},
        errors={"status 502": len(wrong_s)} if errors else {},
        received_bytes=1000 * len(due_s),
    )


def load(work: Workload, candidate: str, rate_per_s: float, capacity_per_s: float, chance: np.random.Generator, **changes: Any) -> Slice:
    """Return a slice. `cpu_us`: of the server for each request."""
    errors, cpu_us = int(changes.pop("errors", 0)), float(changes.pop("cpu_us", 800.0))
    seen = recording(work, rate_per_s, capacity_per_s, chance, errors)
    answered = seen.all.latency.count

    def used(each_us: float) -> Usage:
        return Usage(cpu_ns=round(answered * each_us * 1e3), waited_ns=answered * 10_000, switches=2 * answered, throttled_ns=0)

    made = Slice(
        workload=work.name,
        candidate=candidate,
        block=0,
        round=0,
        at_s=0.0,
        rate_per_s=rate_per_s,
        duration_s=SLICE_S,
        recording=seen,
        in_flight_mean=answered / SLICE_S * seen.all.service.mean_ms / 1e3,
        server=used(cpu_us),
        gateway=used(100.0),
        rest=used(50.0),
        generator=Usage(cpu_ns=round(0.2e9 * SLICE_S)),
        idle_cpu_ns=1_000_000,
        steal_share=0.0,
        others_cpu_share=0.01,
    )
    return replace(made, **changes)


def run(
    plan: Manifest, capacity_per_s: Mapping[tuple[str, str], float], *, noise: float = 0.02, seed: int = 1, late: float = 1.0
) -> list[Record]:
    """Return all records of a run; `capacity_per_s` by (workload, candidate), what is not there has 200/s.

    `noise`: of a block's processes, and three times as much of a slice; the machine drifts for all alike. A request costs the time that the
    capacity leaves for it. `late`: share of its capacity that a candidate has left in the second half of a block.
    """
    chance, records, at_s = np.random.default_rng(seed), list[Record](), 0.0
    seen: dict[tuple[str, str], list[JudgedSlice]] = {}
    for block in range(plan.pace.blocks):
        for candidate in plan.candidates:
            start = Start(candidate=candidate.name, block=block, at_s=at_s, start_s=1.0, proof=PROOF, memory_bytes=120 * 2**20)
            records.append(start)
        luck = {candidate.name: chance.normal(0, noise) for candidate in plan.candidates}
        for number in range(block * plan.pace.rounds, (block + 1) * plan.pace.rounds):
            machine = 0.08 * np.sin(number / 7)
            tired = late if number % plan.pace.rounds >= plan.pace.rounds / 2 else 1.0
            for workload in plan.workloads:
                before = [seen.get((workload.name, name), []) for name in luck]
                calm_per_s = calm_rate(before) if number % 3 == 2 and all(before) else None
                for name, own_luck in luck.items():
                    truth = capacity_per_s.get((workload.name, name), 200.0) * tired
                    now = truth * float(np.exp(machine + own_luck + 3 * noise * chance.standard_t(5)))
                    own = seen.setdefault((workload.name, name), [])
                    rate = calm_per_s or next_rate(own, random.Random(number), truth, workload.max_rate_per_s)  # noqa: S311
                    where = {"block": block, "round": number, "at_s": at_s, "calm": calm_per_s is not None}
                    made = load(workload, name, rate, now, chance, **where, cpu_us=5e5 / now)
                    own.append(JudgedSlice(made, workload, plan.limits))
                    records.append(made)
                    at_s += SLICE_S
    return records


def stored(folder: Path, plan: Manifest, records: list[Record]) -> Store:
    store = Store.create(folder, plan)
    for one in records:
        store.add(one)
    return store
