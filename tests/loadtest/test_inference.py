"""The judge keeps its promises: on simulated runs, where the truth is known and no clock is involved."""

import itertools
import math

import numpy as np
import pytest

from loadtest.judge.inference import Comparison, Interval, blocks_for, compare, half_width, ratio_interval, smallest_difference

MARGIN = 0.05
MACHINE_NOISE = 0.08  # the same for all runs of a block
RUN_NOISE = 0.04
FAMILIES = 2000
SAMPLE = 20
# Of 2000 families at a true rate of 5 %, more than 6.5 % are seen by chance in one test of a thousand.
BY_CHANCE = 3.1 * math.sqrt(0.05 * 0.95 / FAMILIES)


def normal(chance: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return chance.normal(0, RUN_NOISE, shape)


def heavy_tailed(chance: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    noise: np.ndarray = RUN_NOISE * chance.standard_t(3, shape)
    return noise


def with_outliers(chance: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """One run of ten is 30 % off: a neighbour took the machine."""
    noise: np.ndarray = normal(chance, shape) - 0.36 * (chance.random(shape) < 0.1)
    return noise


NOISES = (normal, heavy_tailed, with_outliers)


def simulate(ratios: list[float], blocks: int, noise: object, seed: int) -> np.ndarray:
    """Return throughputs of shape (families, candidates, blocks)."""
    chance = np.random.default_rng(seed)
    machine = chance.normal(0, MACHINE_NOISE, (FAMILIES, 1, blocks))
    runs = noise(chance, (FAMILIES, len(ratios), blocks))  # type: ignore[operator]
    runs_per_s: np.ndarray = 1000 * np.exp(np.log(np.array(ratios))[None, :, None] + machine + runs)
    return runs_per_s


def intervals(families: np.ndarray) -> np.ndarray:
    """Return low, ratio, high of every pair, shape (3, families, pairs): what `ratio_interval` works out, for all in one go.

    A sample is worked out by `ratio_interval` itself: these are its intervals, or the test fails.
    """
    pairs = list(itertools.combinations(range(families.shape[1]), 2))
    logs = np.log(families)
    differences = np.stack([logs[:, other] - logs[:, base] for base, other in pairs], axis=1)
    center = differences.mean(axis=2)
    half = half_width(1.0, families.shape[2], comparisons=len(pairs)) * differences.std(axis=2, ddof=1)
    found: np.ndarray = np.exp(np.stack([center - half, center, center + half]))
    for family, number in itertools.product(range(SAMPLE), range(len(pairs))):
        base, other = pairs[number]
        single = ratio_interval(families[family, base].tolist(), families[family, other].tolist(), comparisons=len(pairs))
        assert found[:, family, number] == pytest.approx((single.low, single.ratio, single.high))
    return found


def called(families: np.ndarray) -> np.ndarray:
    """Return 1 where a pair is called HIGHER, -1 for LOWER, else 0; shape (families, pairs). As `compare` does it, checked on a sample."""
    low, ratio, high = found = intervals(families)
    higher, lower = (low > 1) & (ratio >= 1 + MARGIN), (high < 1) & (ratio <= 1 / (1 + MARGIN))
    tie = (low > 1 / (1 + MARGIN)) & (high < 1 + MARGIN)
    calls: np.ndarray = np.where(tie, 0, higher.astype(int) - lower.astype(int))
    signs = {Comparison.HIGHER: 1, Comparison.LOWER: -1}
    for family, number in itertools.product(range(SAMPLE), range(calls.shape[1])):
        assert calls[family, number] == signs.get(compare(Interval(*found[:, family, number].tolist()), MARGIN), 0)
    return calls


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("blocks", [3, 5, 8, 12])
def test_equal_candidates_are_called_different_at_most_as_often_as_promised(blocks: int, noise: object) -> None:
    families = simulate([1.0, 1.0, 1.0, 1.0], blocks, noise, seed=blocks)

    assert np.mean(np.any(called(families) != 0, axis=1)) <= 0.05 + BY_CHANCE


@pytest.mark.parametrize("blocks", [3, 5, 8, 12])
def test_the_interval_holds_the_true_ratio_as_often_as_promised(blocks: int) -> None:
    families = simulate([1.0, 1.3], blocks, normal, seed=blocks)

    low, _, high = intervals(families)

    assert np.mean((low <= 1.3) & (high >= 1.3)) == pytest.approx(0.95, abs=BY_CHANCE)


@pytest.mark.parametrize("blocks", [3, 5, 8])
def test_a_plain_bootstrap_breaks_that_promise(blocks: int) -> None:
    """The negative twin: the method of most published comparisons, where they have one."""
    families = np.log(simulate([1.0, 1.0], blocks, normal, seed=blocks))
    differences = families[:, 1, :] - families[:, 0, :]
    chance = np.random.default_rng(1)
    means = differences[:, chance.integers(0, blocks, (500, blocks))].mean(axis=2)
    low, high = np.quantile(means, [0.025, 0.975], axis=1)

    assert np.mean((low > 0) | (high < 0)) > 0.05 + 2 * BY_CHANCE


@pytest.mark.parametrize(("slower", "blocks", "power"), [(0.1, 8, 0.8), (0.1, 12, 0.95), (0.3, 5, 0.95), (0.3, 8, 0.99)])
def test_a_planted_difference_is_found_with_the_promised_power(slower: float, blocks: int, power: float) -> None:
    families = simulate([1.0, 1 - slower], blocks, normal, seed=blocks)

    assert np.mean(called(families) == -1) >= power


@pytest.mark.parametrize("blocks", [4, 5, 8, 12, 30])
def test_the_plan_promises_no_more_than_it_holds(blocks: int) -> None:
    sd_log = RUN_NOISE * math.sqrt(2)
    difference = smallest_difference(sd_log, blocks, margin=MARGIN)
    families = simulate([1.0, 1 + difference], blocks, normal, seed=blocks)

    assert np.mean(called(families) == 1) >= 0.8 - 2 * BY_CHANCE


def test_ties_are_found_when_the_noise_allows() -> None:
    chance = np.random.default_rng(1)
    runs = np.exp(chance.normal(0, 0.005, (2, 8)))

    assert compare(ratio_interval(*runs.tolist()), MARGIN) is Comparison.TIE


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        (Interval(1.2, 1.5, 1.9), Comparison.HIGHER),
        (Interval(0.5, 0.7, 0.9), Comparison.LOWER),
        (Interval(1.01, 1.02, 1.03), Comparison.TIE),  # real, and too small to matter
        (Interval(0.8, 1.1, 1.5), Comparison.UNDECIDED),
        (Interval(1.001, 1.04, 1.08), Comparison.UNDECIDED),  # a difference, perhaps one that matters
        (Interval(0.97, 1.0, 1.03), Comparison.TIE),
    ],
)
def test_an_interval_is_judged_by_its_ends_and_the_margin(interval: Interval, verdict: Comparison) -> None:
    assert compare(interval, MARGIN) is verdict


def test_the_blocks_asked_for_are_enough_and_not_too_many() -> None:
    needed = blocks_for(0.1, 0.06)

    assert needed is not None
    assert smallest_difference(0.06, needed) <= 0.1 < smallest_difference(0.06, needed - 1)
    assert blocks_for(0.0001, 0.06) is None
    assert smallest_difference(0.06, 2) == math.inf


@pytest.mark.parametrize(
    ("base", "other", "reason"), [([1, 1], [1, 1], "at least 3"), ([1, 1, 1], [1, 1], "are no pairs"), ([1, 1, 0], [1, 1, 1], "above 0")]
)
def test_runs_that_cannot_be_compared_are_refused(base: list[float], other: list[float], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        ratio_interval(base, other)
