"""Where does a server stop holding the objective? One threshold for each candidate and workload, from all of its slices.

A slice that held the objective says: the knee is above this rate. One that did not says how far below: who was late stood in a queue that
grew for as long as the slice lasted, at the speed by which the rate was above what is carried. The knees of single slices scatter
around the server's in logarithms, along a logistic curve; their spread is what the machine and the arrivals do to them. A slice that was
disturbed says the wrong thing, which LAPSE allows for. Knee and spread are worked out on a grid, as in Kontsevich and Tyler's Psi method
(Vision Research 39, 1999), with the lapses of Wichmann and Hill (2001).
"""

import math
import random
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from loadtest.judge.slices import JudgedSlice

Grid = NDArray[np.float64]  # log weights, shape (SPREADS, KNEES)

KNEES = np.arange(math.log(0.1), math.log(20_000), 0.01)  # log of requests per second
SPREADS = np.array([[0.02], [0.04], [0.08], [0.16], [0.32]])
LAPSE = 0.06
LAPSE_WIDTH = 3.0  # in logarithms: where a disturbed slice says that the knee is
# The first rate is a guess: the knee may well lie at a third or at three times as much (Student's t with three degrees of freedom).
GUESS_SPREAD = 0.7
GUESS_SHARE = 0.9  # of what a closed loop gets through
# Where processor time is compared all candidates get the same rate: a request costs less the sooner the next one follows.
CALM_SHARE = 0.7  # of the lowest knee
# So far above the knee, in spreads of a slice: most slices miss the objective by little, and each of them says by how much.
ABOVE, LEAST_ABOVE = 1.0, 0.05
# No further than this from the rates that were tried: an overload must drain before the next slice.
DOWN, UP = math.log(3), math.log(1.4)
RECENT = 6  # slices that say where to look: a guess that was far off is forgotten
JITTER = 0.05  # or neighbouring rates would never be tried
ALLOWED = 0.01  # share of the requests that may be late


class Evidence(NamedTuple):
    """What a slice says of the knee: the logarithm of its rate (requests per second), and of the knee where it missed the objective."""

    block: int
    log_rate: float
    log_knee: float | None


def evidence_of(one: JudgedSlice) -> Evidence:
    """Return what a slice says. Its rate is what was offered indeed; a failure weighs as many late answers as it is allowed less often."""
    rate_per_s = max(one.recording.offered, 1) / one.slice.duration_s
    weight = ALLOWED / one.limits.error_share
    requests = one.judged.latency.count
    late = ALLOWED * (requests + one.failures * weight) - one.failures * weight  # so many may be
    objective_s, lasted_s = one.workload.slo_ms / 1e3, one.slice.settle_s + one.slice.duration_s
    longest_s = one.judged.latency.quantile_ms(1 - late / requests) / 1e3 if requests and late >= 0 else lasted_s
    # So long would the last have waited in a queue that grew evenly. Where few wait for very long, most of the work is done in time.
    in_time = requests * (1 - one.late_share) / max(requests + one.failures, 1)
    longest_s = min(longest_s, objective_s / in_time) if in_time else longest_s
    held = longest_s <= objective_s and one.achieved_share >= one.limits.achieved_share
    return Evidence(one.slice.block, math.log(rate_per_s), None if held else log_knee(rate_per_s, lasted_s, objective_s, longest_s))


def log_knee(rate_per_s: float, lasted_s: float, objective_s: float, longest_s: float) -> float:
    """Return the logarithm of the rate at which the last would have waited for the objective, where they waited for `longest_s`.

    After T seconds at rate r a server that carries c has r T/c - T seconds of work left, which is what the last ones wait for.
    """
    longest_s = max(longest_s, objective_s)
    return math.log(rate_per_s * (lasted_s + objective_s) / (lasted_s + longest_s))


def next_rate(slices: Sequence[JudgedSlice], rng: random.Random, start_per_s: float, highest_per_s: float) -> float:
    """Return the rate (per second) to try next: just above the knee.

    `slices`: all of one candidate, in order of time. `start_per_s`: what a closed loop gets through, for the first one that is believed.
    Towards a rate at which a slice was not believed it goes half of the way: the generator may have been late because of it.
    """
    believed = [one for one in slices if not one.problems]
    if not believed:
        return min(start_per_s * GUESS_SHARE, highest_per_s)
    rate_per_s = math.exp(telling_rate([evidence_of(one) for one in believed]) + rng.uniform(-JITTER, JITTER))
    tried_per_s = max(one.slice.rate_per_s for one in believed)
    beyond = [one.slice.rate_per_s for one in slices if one.problems and one.slice.rate_per_s > tried_per_s]
    return min(rate_per_s, highest_per_s, *([math.sqrt(tried_per_s * min(beyond))] if beyond else []))


def calm_rate(candidates: Iterable[Sequence[JudgedSlice]]) -> float:
    """Return a rate (per second) that each of these candidates holds with ease, from all of their slices, at least one of each.

    One that answers nothing but errors holds none, and does not decide.
    """
    knees = [(all(one.failures >= one.right for one in own), knee_of([evidence_of(one) for one in own])) for own in candidates]
    return CALM_SHARE * math.exp(min(knees)[1])


def telling_rate(seen: Sequence[Evidence]) -> float:
    """Return the logarithm of the rate that tells most."""
    knee, deviation, spread = _moments(_weights(_logs(seen[-RECENT:])))
    tried = [one.log_rate for one in seen]
    above = max(ABOVE * max(spread, deviation), LEAST_ABOVE)
    return min(max(knee + above, min(tried) - DOWN), max(tried) + UP)


def knee_of(seen: Sequence[Evidence]) -> float:
    """Return the logarithm of the knee (requests per second): the mean of what is thought of it after these slices, at least one."""
    return _moments(_weights(_logs(seen)))[0]


def knees_by_block(seen: Sequence[Evidence]) -> dict[int, float]:
    """Return for each block what it contributes to the logarithm of the knee: a jackknife pseudo-value (Tukey, 1958).

    Their mean is the knee, nearly, and they scatter as independent estimates would, although one block alone holds too few slices.
    """
    if not seen:
        return {}
    everything, blocks = _logs(seen), sorted({one.block for one in seen})
    knee, number = _moments(_weights(everything))[0], len(blocks)
    rest = {block: everything - sum(_likelihood(one) for one in seen if one.block == block) for block in blocks}
    return {block: number * knee - (number - 1) * _moments(_weights(logs))[0] for block, logs in rest.items()}


def surprises(seen: Sequence[Evidence]) -> list[float]:
    """Return how much better (up to 1) or worse (down to -1) each slice did than all of them together have it expected."""
    weights = _weights(_logs(seen))

    def above(log_rate: float) -> float:
        return float((weights * _above(log_rate)).sum())

    return [1 - above(one.log_rate) if one.log_knee is None else 1 - 2 * above(one.log_knee) for one in seen]


def _logs(seen: Sequence[Evidence]) -> Grid:
    """Return the logarithm of the weight of each spread and knee; beforehand the knee is about where the first slice was."""
    z = (KNEES - seen[0].log_rate) / GUESS_SPREAD
    return -2 * np.log1p(z**2 / 3) + sum(_likelihood(one) for one in seen)


@lru_cache(maxsize=10_000)
def _likelihood(one: Evidence) -> Grid:
    """Return the logarithm of how likely a slice is that says so, for each spread and knee."""
    if one.log_knee is None:
        chance: Grid = LAPSE / 2 + (1 - LAPSE) * _above(one.log_rate)
    else:
        above = _above(one.log_knee)
        chance = LAPSE / LAPSE_WIDTH + (1 - LAPSE) * above * (1 - above) / SPREADS
    logs: Grid = np.log(chance)
    return logs


def _above(log_rate: float) -> Grid:
    """Return the chance that a slice's own knee is above this rate, for each spread and knee."""
    chance: Grid = special.expit((KNEES - log_rate) / SPREADS)
    return chance


def _weights(logs: Grid) -> Grid:
    weights: Grid = np.exp(logs - special.logsumexp(logs))
    return weights


def _moments(weights: Grid) -> tuple[float, float, float]:
    """Return mean and standard deviation of the log knee, and the mean spread."""
    knees = weights.sum(axis=0)
    mean = float(knees @ KNEES)
    return mean, math.sqrt(float(knees @ (KNEES - mean) ** 2)), float(weights.sum(axis=1) @ SPREADS[:, 0])
