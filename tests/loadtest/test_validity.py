"""When a slice is not believed: each reason alone, and none of them on a machine that is quiet."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from loadtest.judge.slices import judge_slices
from loadtest.judge.validity import Gate, problems
from loadtest.records.histogram import Histogram
from loadtest.records.model import Limits
from loadtest.records.slices import Slice, Usage
from loadtest.report.words import reasons
from tests.loadtest.synthetic import load, manifest

PLAN = manifest(("sync",), ("json",))
WORK = PLAN.workloads[0]
LATE = Histogram.of_seconds([0.011] * 1000)


def quiet(rate_per_s: float = 100.0, **changes: Any) -> Slice:
    return load(WORK, "sync", rate_per_s, 200.0, np.random.default_rng(1), **changes)


def recorded(one: Slice, **changes: Any) -> Slice:
    """Return the slice with another recording."""
    return replace(one, recording=replace(one.recording, **changes))


def test_a_quiet_machine_gives_valid_slices() -> None:
    assert problems(quiet(), WORK, Limits(), calm=True) == ()


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (quiet(generator=Usage(cpu_ns=710_000_000)), "the generator used 71% of a core"),
        (recorded(quiet(), slip=LATE), "the generator sent 100.0% of the requests more than 10 ms late"),
        (recorded(quiet(), offered=50), "the generator got round to 50 of about 100 visitors"),
        (recorded(quiet(), offered=0), "the generator got round to 0 of about 100 visitors"),
        (recorded(quiet(), errors={"generator: no ports left": 3}), "the generator failed: generator: no ports left"),
        (quiet(steal_share=0.06), "the host took 6.0% of the processors"),
        (quiet(others_cpu_share=0.3), "other programs used 0.30 cores"),
        (quiet(idle_cpu_ns=200_000_000), "candidates that had nothing to do used 0.20 cores"),
        (quiet(gateway=Usage(cpu_ns=800_000_000)), "the gateway used 80% of a core"),
        (quiet(server=Usage(throttled_ns=50_000_000)), "a quota stopped the server for 5.0% of the time"),
        (recorded(quiet(), errors={"status 504": 2}), "the gateway answered in the server's place (status 504 x 2)"),
    ],
)
def test_each_reason_alone_is_enough(bad: Slice, reason: str) -> None:
    found = problems(bad, WORK, Limits(), calm=True)

    assert len(found) == 1
    assert reason in reasons(found)


def test_what_a_server_does_above_its_knee_is_a_result() -> None:
    overload = recorded(quiet(), errors={"status 504": 2})

    assert problems(overload, WORK, Limits(), calm=False) == ()
    assert problems(quiet(server=Usage(throttled_ns=50_000_000)), WORK, Limits(), calm=False) == ()


def test_calm_is_well_below_what_the_same_server_held() -> None:
    wrong = [recorded(quiet(rate), errors={"status 504": 2}) for rate in (60.0, 190.0)]
    judged = judge_slices(PLAN, [quiet(100.0), quiet(110.0), quiet(120.0), *wrong])

    assert [[problem.gate for problem in one.problems] for one in judged] == [[], [], [], [Gate.GATEWAY_ERRORS], []]
