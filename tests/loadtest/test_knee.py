"""The knee that is worked out from slices: where it is, how well it is known, and which rate is tried next. Simulated, without a clock."""

import math
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import pytest

from loadtest.judge.inference import interval
from loadtest.judge.knee import Evidence, knee_of, knees_by_block, log_knee, telling_rate

TRUTH = math.log(200.0)
MEASURED = np.loadtxt(Path(__file__).with_name("noise.txt")).ravel()
BLOCKS, ROUNDS = 8, 5
OBJECTIVE_S = 0.1


class Server:
    """A server whose knee is TRUTH, but for the luck of a block's processes, a drift of the machine, and what disturbs single slices."""

    def __init__(self, seed: int, *, knee: float = TRUTH, noise: float = 0.1, luck: float = 0.02, lapses: float = 0.0) -> None:
        self.chance, self.knee, self.noise, self.lapses = np.random.default_rng(seed), knee, noise, lapses
        self.lucks = self.chance.normal(0, luck, BLOCKS)

    def slice(self, block: int, log_rate: float, drift: float = 0.0) -> Evidence:
        """Measure a slice of a second, at an objective of a tenth; waiting varies by a few requests."""
        now = self.knee + self.lucks[block] + drift + self.noise * self.chance.standard_t(4) / math.sqrt(2)
        if self.chance.random() < self.lapses:
            now -= 2.0
        rate = max(int(self.chance.poisson(math.exp(log_rate))), 1)
        longest_s = rate / math.exp(now) * (1 + OBJECTIVE_S) - 1
        return Evidence(block, math.log(rate), None if longest_s <= OBJECTIVE_S else log_knee(rate, 1.0, OBJECTIVE_S, longest_s))

    def run(self, first: float) -> list[Evidence]:
        """Measure a whole run, beginning with a guess."""
        seen: list[Evidence] = []
        for number in range(BLOCKS * ROUNDS):
            rate = telling_rate(seen) if seen else first
            seen.append(self.slice(number // ROUNDS, rate))
        return seen


@pytest.mark.parametrize("guess", [0.25, 1.0, 4.0])
@pytest.mark.parametrize("lapses", [0.0, 0.05])
def test_the_knee_is_found_from_any_guess(guess: float, lapses: float) -> None:
    """Also where one slice of twenty is one that the machine was taken from."""
    found = [knee_of(Server(seed, lapses=lapses).run(TRUTH + math.log(guess))) for seed in range(8)]

    assert mean(found) == pytest.approx(TRUTH, abs=0.08)
    assert stdev(found) < 0.1


def test_rates_are_tried_just_above_the_knee_and_no_overload_is_out_of_bounds() -> None:
    seen = Server(1).run(TRUTH - 1)
    late = [one.log_rate for one in seen[-20:]]

    assert TRUTH - 0.4 < min(late) < max(late) < TRUTH + 0.5
    assert sum(one.log_knee is not None for one in seen[-20:]) > 10  # most of them say how far below the knee is


def test_a_server_that_never_holds_is_followed_down() -> None:
    seen = [Evidence(0, math.log(100.0), math.log(60.0))]
    while len(seen) < 16:
        rate = telling_rate(seen)
        seen.append(Evidence(0, rate, rate - 0.5))

    assert seen[-1].log_rate < math.log(25)


def test_what_was_late_says_how_far_below_the_knee_is() -> None:
    """A queue in outline: 300/s for a second where 200/s are carried leaves the last one half a second of work before it."""
    assert log_knee(300.0, 1.0, 0.1, 0.5) == pytest.approx(math.log(200 * 1.1))
    assert log_knee(220.0, 1.0, 0.1, 0.1) == pytest.approx(math.log(220.0))


def test_slow_work_is_judged_by_all_of_its_slices_together() -> None:
    """Eight requests a slice are no percentile; forty such slices know the knee."""
    found = [knee_of(Server(seed, knee=math.log(8.0)).run(math.log(5.0))) for seed in range(8)]

    assert mean(found) == pytest.approx(math.log(8.0), abs=0.25)


def test_the_blocks_contributions_scatter_as_the_knee_does() -> None:
    """Jackknife pseudo-values: their standard error is the scatter of whole runs, or the intervals would promise too much."""
    runs = [list(knees_by_block(Server(seed).run(TRUTH - 0.3)).values()) for seed in range(40)]
    claimed = mean(stdev(run) / math.sqrt(BLOCKS) for run in runs)

    assert 0.75 < claimed / stdev(map(mean, runs)) < 1.6


def simulated(number: int, seed: int) -> float:
    """A drift of the machine; heavy tails and lapses are the servers' own."""
    return 0.15 * math.sin(number / 10 + seed)


def measured(number: int, seed: int) -> float:
    """What a machine that many others use left for a slice of a second: of a moment, up to 47 times what another one had."""
    return math.log(np.exp(MEASURED[(5 * number + 7 * seed + np.arange(5)) % MEASURED.size]).mean())


@pytest.mark.parametrize("machine", [simulated, measured])
def test_the_interval_of_two_knees_holds_as_often_as_promised(machine: Callable[[int, int], float]) -> None:
    """Slices in turn, compared by block, with the luck of each block's processes; 95 % promised, counted in 100 runs."""
    missed = 0
    noise, lapses = (0.1, 0.02) if machine is simulated else (0.03, 0.0)
    for seed in range(100):
        chance, truths = np.random.default_rng(seed), (TRUTH, TRUTH + math.log(0.9))
        servers = [Server(2 * seed + n, knee=truth, luck=0.04, noise=noise, lapses=lapses) for n, truth in enumerate(truths)]
        both: list[list[Evidence]] = [[], []]
        for number in range(BLOCKS * ROUNDS):
            offset = chance.uniform(-0.25, 0.25)
            for n in (0, 1):
                both[n].append(servers[n].slice(number // ROUNDS, truths[n] + offset, machine(2 * number + n, seed)))
        first, second = map(knees_by_block, both)
        found = interval([second[block] - first[block] for block in first])
        missed += not found.low <= 0.9 <= found.high

    assert missed <= 11  # one test of two hundred fails by chance
