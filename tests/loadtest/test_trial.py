"""The short form of `make trial`: planted truths through the whole harness, with nothing asserted that a busy machine can break."""

from dataclasses import replace

from loadtest.judge.inference import Comparison
from tests.loadtest.planted import TOLERANT
from tests.loadtest.trial import LIMITS, cases, pair, results, waiting


def test_a_server_that_takes_three_times_as_long_is_never_taken_for_the_better_one() -> None:
    planted = (waiting("first"), waiting("second", 12.0))
    (seen,) = results(replace(cases()["waiting-30%"], planted=planted), [1], blocks=3, rounds=1, limits=TOLERANT)

    assert [one.slices + one.invalid for one in seen.answers[0].candidates] == [3, 3]
    assert pair(seen).comparison is not Comparison.HIGHER


def test_a_neighbour_that_is_not_idle_is_found_out() -> None:
    case = cases()["busy-neighbour"]
    (seen,) = results(case, [1], blocks=1, rounds=1, limits=replace(LIMITS, idle_cpu_share=0.02))  # all it gets of a busy machine

    assert case.right(seen)
