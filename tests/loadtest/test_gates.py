"""When a step or a cell is not believed: each reason alone, and none of them on a machine that is quiet."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from loadtest.judge.gates import Gate, problems
from loadtest.judge.steps import judge_cells
from loadtest.records.histogram import Histogram
from loadtest.records.model import Limits, Step, Usage
from loadtest.report.words import reasons
from tests.loadtest.synthetic import cell, manifest, step

PLAN = manifest(("sync",), ("json",))
WORK = PLAN.workloads[0]
LATE = Histogram.of_seconds([0.011] * 1000)


def quiet(rate_per_s: float = 100.0, load: float | None = 0.7, **changes: Any) -> Step:
    return step(WORK, rate_per_s, 200.0, np.random.default_rng(1), load, **changes)


def recorded(one: Step, **changes: Any) -> Step:
    """Return the step with another recording."""
    return replace(one, recording=replace(one.recording, **changes))


def test_a_quiet_machine_gives_valid_steps() -> None:
    assert problems(quiet(), WORK, Limits()) == ()


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (quiet(generator_cpu_share=0.71), "the generator used 71% of a core"),
        (recorded(quiet(), slip=LATE), "the generator sent 11.0 ms late"),
        (recorded(quiet(), offered=800), "the generator got round to 800 of about 1000 visitors"),
        (recorded(quiet(), offered=0), "the generator got round to 0 of about 1000 visitors"),
        (recorded(quiet(), errors={"generator: no ports left": 3}), "the generator failed: generator: no ports left"),
        (quiet(steal_share=0.06), "the host took 6.0% of the processors"),
        (quiet(others_cpu_share=0.3), "other programs used 0.30 cores"),
        (quiet(gateway=Usage(cpu_s=8.0)), "the gateway used 80% of a core"),
        (quiet(server=Usage(throttled_s=0.5)), "a quota stopped the server for 5.0% of the time"),
        (recorded(quiet(), errors={"status 504": 2}), "the gateway answered in the server's place (status 504 x 2)"),
    ],
)
def test_each_reason_alone_is_enough(bad: Step, reason: str) -> None:
    found = problems(bad, WORK, Limits())

    assert len(found) == 1
    assert reason in reasons(found)


def test_what_a_server_does_above_its_knee_is_a_result() -> None:
    overload = recorded(quiet(load=1.2), errors={"status 504": 2})

    assert problems(overload, WORK, Limits()) == ()
    assert problems(quiet(load=1.2, server=Usage(throttled_s=0.5)), WORK, Limits()) == ()


def gates(*steps: Step) -> list[Gate]:
    """Return why a search of these steps is not believed."""
    (judged,) = judge_cells(PLAN, [cell(WORK, PLAN.candidates[0], 0, kind="knee", steps=steps)])
    return [problem.gate for problem in judged.invalid]


def test_a_step_that_was_repeated_soundly_does_not_cost_the_cell() -> None:
    bad, sound = recorded(quiet(load=None), slip=LATE), quiet(load=None)

    assert gates(bad, sound) == []
    assert gates(bad, quiet(90.0, load=None)) == [Gate.GENERATOR_LATE]


def test_trouble_above_a_rate_that_failed_soundly_is_of_no_consequence() -> None:
    failed, above = quiet(300.0, load=None), recorded(quiet(400.0, load=None), slip=LATE)

    assert gates(failed, above) == []
    assert gates(above) == [Gate.GENERATOR_LATE]
