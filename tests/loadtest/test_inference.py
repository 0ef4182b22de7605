"""The intervals of blocks keep their promises, also when it is looked after each: simulated, with the truth known and no clock involved."""

import itertools
import math

import numpy as np
import pytest

from loadtest.judge.inference import CONFIDENCE, Comparison, Interval, compare, half_width, interval, level, smallest_difference

MARGIN = 0.05
NOISE = 0.06
RUNS = 2000
# Of 2000 runs at a true rate of 5 %, more than 6.5 % are seen by chance in one test of a thousand.
BY_CHANCE = 3.1 * math.sqrt(0.05 * 0.95 / RUNS)


def normal(chance: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return chance.normal(0, NOISE, shape)


def heavy_tailed(chance: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    noise: np.ndarray = NOISE * chance.standard_t(3, shape)
    return noise


def with_outliers(chance: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """One block of ten is 30 % off: a neighbour took the machine."""
    noise: np.ndarray = normal(chance, shape) - 0.36 * (chance.random(shape) < 0.1)
    return noise


NOISES = (normal, heavy_tailed, with_outliers)


def simulate(ratios: list[float], blocks: int, noise: object, seed: int) -> np.ndarray:
    """Return logarithms of block values of each pair of candidates, shape (runs, pairs, blocks); the machine drifts for all alike."""
    chance = np.random.default_rng(seed)
    machine = np.cumsum(chance.normal(0, 0.05, (RUNS, 1, blocks)), axis=2)
    values = np.log(np.array(ratios))[None, :, None] + machine + noise(chance, (RUNS, len(ratios), blocks))  # type: ignore[operator]
    return np.stack([values[:, other] - values[:, base] for base, other in itertools.combinations(range(len(ratios)), 2)], axis=1)


def intervals(logs: np.ndarray, looks: int) -> np.ndarray:
    """Return low, ratio, high of each pair, shape (3, runs, pairs), as `interval` does; checked on a sample."""
    blocks, pairs = logs.shape[2], logs.shape[1]
    center = logs.mean(axis=2)
    half = half_width(1.0, blocks, level(blocks, looks, (1 - CONFIDENCE) / pairs)) * logs.std(axis=2, ddof=1)
    found: np.ndarray = np.exp(np.stack([center - half, center, center + half]))
    single = interval(logs[0, 0].tolist(), looks=looks, comparisons=pairs)
    assert found[:, 0, 0] == pytest.approx((single.low, single.ratio, single.high))
    return found


def verdicts(logs: np.ndarray, *, honest: bool = True) -> np.ndarray:
    """Return for each run and pair the first call of all looks: 1 for HIGHER, -1 for LOWER, 0 for none; shape (runs, pairs).

    Not `honest`: looking after each block with the interval of a single look.
    """
    first = np.zeros(logs.shape[:2])
    for blocks in range(3, logs.shape[2] + 1):
        low, _, high = intervals(logs[:, :, :blocks], looks=logs.shape[2] if honest else 1)
        tie = (low > 1 / (1 + MARGIN)) & (high < 1 + MARGIN)
        call = np.where(tie, 0, (low > 1).astype(int) - (high < 1))
        first = np.where(first == 0, call, first)
    return first


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("blocks", [3, 6, 12])
def test_looking_after_each_block_equal_candidates_are_called_different_no_more_often_than_promised(blocks: int, noise: object) -> None:
    logs = simulate([1.0, 1.0, 1.0, 1.0], blocks, noise, seed=blocks)

    assert np.mean(np.any(verdicts(logs) != 0, axis=1)) <= 0.05 + BY_CHANCE


@pytest.mark.parametrize("blocks", [6, 12])
def test_looking_after_each_block_with_the_interval_of_one_look_breaks_that_promise(blocks: int) -> None:
    """The negative twin: the usual way to stop a measurement when it looks good."""
    logs = simulate([1.0, 1.0], blocks, normal, seed=blocks)

    assert np.mean(np.any(verdicts(logs, honest=False) != 0, axis=1)) > 0.05 + 2 * BY_CHANCE


@pytest.mark.parametrize("blocks", [3, 6, 12])
def test_the_intervals_of_all_looks_hold_the_true_ratio_together(blocks: int) -> None:
    logs = simulate([1.0, 1.3], blocks, normal, seed=blocks)
    missed = np.zeros(RUNS, dtype=bool)
    for seen in range(3, blocks + 1):
        low, _, high = intervals(logs[:, :, :seen], looks=blocks)
        missed |= ((low > 1.3) | (high < 1.3))[:, 0]

    assert np.mean(missed) == pytest.approx(0.05, abs=BY_CHANCE)


def test_a_plain_bootstrap_of_so_few_blocks_breaks_it() -> None:
    """The negative twin: the method of most published comparisons, where they have one."""
    logs = simulate([1.0, 1.0], 5, normal, seed=5)[:, 0]
    means = logs[:, np.random.default_rng(1).integers(0, 5, (500, 5))].mean(axis=2)
    low, high = np.quantile(means, [0.025, 0.975], axis=1)

    assert np.mean((low > 0) | (high < 0)) > 0.05 + 2 * BY_CHANCE


@pytest.mark.parametrize("blocks", [4, 8, 12, 30])
def test_the_plan_promises_no_more_than_it_holds(blocks: int) -> None:
    difference = smallest_difference(NOISE * math.sqrt(2), blocks, margin=MARGIN)

    assert np.mean(verdicts(simulate([1.0, 1 + difference], blocks, normal, seed=blocks)) == 1) >= 0.8 - 2 * BY_CHANCE


def test_a_large_difference_is_known_early() -> None:
    """Twice as much, with the noise of a small shared machine: before half of the blocks are measured."""
    logs = simulate([1.0, 2.0], 10, normal, seed=1)

    assert np.mean(verdicts(logs)[:, 0] == 1) > 0.99
    low, _, _ = intervals(logs[:, :, :5], looks=10)
    assert np.mean(low > 1) > 0.95


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (Interval(1.2, 1.5, 1.9), Comparison.HIGHER),
        (Interval(0.5, 0.7, 0.9), Comparison.LOWER),
        (Interval(1.01, 1.02, 1.03), Comparison.TIE),  # real, and too small to matter
        (Interval(0.8, 1.1, 1.5), Comparison.UNDECIDED),
        (Interval(1.001, 1.04, 1.08), Comparison.HIGHER),  # a difference, perhaps one that matters
        (Interval(0.97, 1.0, 1.03), Comparison.TIE),
    ],
)
def test_an_interval_is_judged_by_its_ends_and_the_margin(found: Interval, verdict: Comparison) -> None:
    assert compare(found, MARGIN) is verdict


def test_more_blocks_see_more_and_two_see_nothing() -> None:
    assert smallest_difference(0.06, 20) < smallest_difference(0.06, 8) < smallest_difference(0.06, 4)
    assert smallest_difference(0.06, 2) == math.inf


@pytest.mark.parametrize("logs", [[0.1, 0.2], [0.1, 0.2, math.inf]])
def test_what_has_no_interval_is_refused(logs: list[float]) -> None:
    with pytest.raises(ValueError, match="at least 3 logarithms"):
        interval(logs)
