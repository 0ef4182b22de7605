"""What the open model costs a generator, against Locust's own closed loop on the same processor (`make bench-generator`)."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import psutil
import pytest

from loadtest.catalogue import load_candidates
from loadtest.measure.generation import GeneratorProcess
from loadtest.measure.kit import KitServers
from loadtest.measure.order import Order, StepOrder
from loadtest.records.model import Limits

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
ROUNDS = 3
LOOP_USERS, LOOP_S = 32, 6
# 5,000 requests/s on a processor on which Locust's loop makes 9,607 (Locust 2.47): processors differ, so the rate that the generator
# must be good for is a share of what the loop makes beside it.
WANTED_SHARE = 5000 / 9607
SLIP_MS = 5.0
SHARES = (0.25, WANTED_SHARE, 0.75, 0.9)


def closed_loop_per_s(url: str, cpus: Sequence[int]) -> float:
    """Requests per second of plain Locust: users that ask again as soon as they have an answer fill the processor."""
    command = ["-f", "tests/loadtest/visitors.py", "Unpausing", "--headless", "--skip-log", "--json", "-H", url]
    process = subprocess.Popen(
        [sys.executable, "-m", "locust", *command, "-u", str(LOOP_USERS), "-r", str(LOOP_USERS), "-t", f"{LOOP_S}s"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    psutil.Process(process.pid).cpu_affinity(list(cpus))
    (seen,) = json.loads(process.communicate()[0])
    assert seen["num_failures"] == 0
    return float(seen["num_requests"] / (seen["last_request_timestamp"] - seen["start_time"]))


def test_the_open_model_keeps_up_with_locusts_own_loop(note: Callable[[str], None]) -> None:
    """At half of what the loop makes, less than 70 % of a processor and 99 of 100 requests within 5 ms of when they were due.

    Both in the median round.
    """
    servers = KitServers("local")
    candidate = load_candidates()["sync"]
    assert servers.cpus, "this needs a processor for the generator alone"
    slips_ms: list[float] = []
    cpu_shares: list[float] = []
    try:
        server = servers.start(candidate)
        with GeneratorProcess() as generators:
            assert server.null_url
            generators.visit(Order(url=server.null_url, mix=(("", "Null", 1.0),), cpus=tuple(servers.cpus)))
            for _ in range(ROUNDS):
                loop_per_s = closed_loop_per_s(server.null_url, servers.cpus)
                note(f"Locust's loop, {LOOP_USERS} users: {loop_per_s:.0f} requests/s")
                for share in SHARES:
                    seen = generators.step(StepOrder(rate_per_s=share * loop_per_s, warm_up_s=1, measure_s=5))
                    recording, latency = seen.recording, seen.recording.all.latency
                    assert (recording.errors, recording.unfinished) == ({}, 0)
                    if share == WANTED_SHARE:
                        slips_ms.append(recording.slip.quantile_ms(0.99))
                        cpu_shares.append(seen.cpu_share)
                    note(
                        f"open model, {share:.0%} of that: {share * loop_per_s:.0f}/s with {seen.cpu_share:.0%} of the processor, "
                        f"slip p99 {recording.slip.quantile_ms(0.99):.1f} ms, latency p50 {latency.quantile_ms(0.5):.1f} ms, "
                        f"p99 {latency.quantile_ms(0.99):.1f} ms, {recording.dropped} dropped"
                    )
    finally:
        servers.close()
    assert median(slips_ms) < SLIP_MS
    assert median(cpu_shares) < Limits().generator_cpu_share
