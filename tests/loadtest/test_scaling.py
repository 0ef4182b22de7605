"""The law of scalability: found again where it was planted, and refused where it does not describe the figures."""

import math

import pytest

from loadtest.judge.scaling import Scaling, better_than_linear, fit

LEVELS = (1, 2, 4, 8, 16, 32, 64)


@pytest.mark.parametrize(("contention", "coherency"), [(0.05, 0.001), (0.2, 0.0), (0.0, 0.0), (0.02, 0.01)])
def test_a_planted_law_is_found_again(contention: float, coherency: float) -> None:
    truth = Scaling(100.0, contention, coherency, 1.0)
    found = fit({users: truth.throughput_per_s(users) for users in LEVELS})

    assert found is not None
    assert found.per_visitor_s == pytest.approx(100, rel=0.02)
    assert found.contention == pytest.approx(contention, abs=0.005)
    assert found.coherency == pytest.approx(coherency, abs=5e-4)
    assert found.r_squared > 0.99
    if coherency:
        assert found.peak_users == pytest.approx(math.sqrt((1 - contention) / coherency), rel=0.1)


def test_figures_that_the_law_does_not_describe_have_none() -> None:
    assert fit(dict(zip(LEVELS, (100, 20, 300, 10, 500, 90, 1), strict=True))) is None
    assert fit({1: 10.0, 2: 20.0, 4: 40.0}) is None  # any curve passes through three points
    assert fit(dict.fromkeys(LEVELS, 0.0)) is None


def test_growth_beyond_proportion_is_found() -> None:
    assert better_than_linear({1: 100, 2: 190, 4: 300}) is None
    assert better_than_linear({1: 100, 2: 210, 4: 800}) == (1, 4)
    assert better_than_linear({}) is None
