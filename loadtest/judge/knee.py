"""Where does a server stop holding the objective? One threshold for each candidate and workload, from all of its slices.

A slice is evidence: at this rate the objective was held or was not, and how sure that is. The chance that a slice holds falls with
the logarithm of the rate, along a logistic curve whose middle is the knee; its spread is what the machine and the arrivals do
to single slices. A slice that was disturbed says the wrong thing at any rate, which LAPSE allows for. Knee and spread are worked out
on a grid, as in Kontsevich and Tyler's Psi method (Vision Research 39, 1999), with the lapses of Wichmann and Hill (2001).
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from loadtest.judge.slices import JudgedSlice

Grid = NDArray[np.float64]  # log weights, shape (SPREADS, KNEES)

KNEES = np.arange(math.log(0.1), math.log(20_000), 0.03)  # log of requests per second
SPREADS = np.array([[0.03], [0.06], [0.12], [0.25], [0.5]])
LAPSE = 0.06
# The first rate is a guess: the knee may well lie at a third or at three times as much (Student's t with three degrees of freedom).
GUESS_SPREAD = 0.7
GUESS_SHARE = 0.7  # of what a closed loop gets through
# One round of four is calm: there the percentiles and the costs of a request come from.
CALM_EVERY, CALM_SHARE = 4, 0.7
# No further than this from the rates that were tried: an overload must drain before the next slice.
DOWN, UP = math.log(2), math.log(1.5)
REACH = np.linspace(-2, 1.5, 11)  # in spreads of a slice, or of the knee while that is larger
# Shares of late requests that a slice may have seen a sample of; the objective allows 1 in 100.
LATE = np.geomspace(1e-4, 1, 81)
ALLOWED = 0.01


class Evidence(NamedTuple):
    """What a slice says of the knee: at this rate (logarithm of requests per second) it was held, as sure as this (0 to 1)."""

    block: int
    log_rate: float
    held: float


def evidence_of(one: JudgedSlice) -> Evidence:
    """Return what a slice says. Its rate is what was offered indeed; a failure weighs as many late answers as it is allowed less often."""
    late = one.late_share * one.judged.latency.count + one.failures * ALLOWED / one.limits.error_share
    requests = one.judged.latency.count + one.failures
    offered = max(one.recording.offered, 1) / one.slice.duration_s
    return Evidence(one.slice.block, math.log(offered), chance_of_holding(requests, min(late, requests)))


def chance_of_holding(requests: int, late: float) -> float:
    """Return how sure a slice is that it held the objective: 1/2 where it saw nothing; `late` may be a fraction.

    The share of late ones is somewhere below the allowed one (evenly, in logarithms) or above it: which explains better what was seen?
    """
    logs = special.xlogy(late, LATE) + special.xlog1py(requests - late, -LATE)
    likely = np.exp(logs - logs.max())
    below, above = likely[LATE < ALLOWED].mean(), likely[LATE >= ALLOWED].mean()
    return float(below / (below + above))


def next_rate(slices: Sequence[JudgedSlice], rng: random.Random, start_per_s: float, highest_per_s: float) -> float:
    """Return the rate (per second) to try next: the one that is expected to tell most about knee and spread, or a calm one.

    `slices`: believed ones of one candidate, in order of time. `start_per_s`: what a closed loop gets through, for the first slice.
    """
    calm = rng.randrange(CALM_EVERY) == 0
    if not slices:
        return min(start_per_s * GUESS_SHARE, highest_per_s)
    return min(math.exp(telling_rate([evidence_of(one) for one in slices], calm=calm)), highest_per_s)


def telling_rate(seen: Sequence[Evidence], *, calm: bool) -> float:
    """Return the logarithm of the rate that tells most, or of a calm one when the knee is known well enough for one."""
    weights = _weights(_logs(seen))
    knee, deviation, spread = _moments(weights)
    if calm and deviation < GUESS_SPREAD / 2:
        return knee + math.log(CALM_SHARE)
    tried = [one.log_rate for one in seen]
    around = np.clip(knee + REACH * max(deviation, spread), min(tried) - DOWN, max(tried) + UP)
    return float(min(around, key=lambda rate: _expected_entropy(weights, rate)))


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
    rest = {block: everything - sum(_likelihood(one.log_rate, one.held) for one in seen if one.block == block) for block in blocks}
    return {block: number * knee - (number - 1) * _moments(_weights(logs))[0] for block, logs in rest.items()}


def surprises(seen: Sequence[Evidence]) -> list[float]:
    """Return how much better (up to 1) or worse (down to -1) each slice did than all of them together have it expected."""
    weights = _weights(_logs(seen))
    return [one.held - float((weights * _holds(one.log_rate)).sum()) for one in seen]


def _logs(seen: Sequence[Evidence]) -> Grid:
    """Return the logarithm of the weight of each spread and knee; beforehand the knee is about where the first slice was."""
    z = (KNEES - seen[0].log_rate) / GUESS_SPREAD
    return -2 * np.log1p(z**2 / 3) + sum(_likelihood(one.log_rate, one.held) for one in seen)


@lru_cache(maxsize=10_000)
def _likelihood(log_rate: float, held: float) -> Grid:
    """Return the logarithm of how likely a slice is that says so, for each spread and knee."""
    chance = _holds(log_rate)
    logs: Grid = np.log(held * chance + (1 - held) * (1 - chance))
    return logs


def _holds(log_rate: float) -> Grid:
    """Return the chance that a slice at this rate holds the objective, for each spread and knee."""
    chance: Grid = LAPSE / 2 + (1 - LAPSE) * special.expit((KNEES - log_rate) / SPREADS)
    return chance


def _weights(logs: Grid) -> Grid:
    weights: Grid = np.exp(logs - special.logsumexp(logs))
    return weights


def _moments(weights: Grid) -> tuple[float, float, float]:
    """Return mean and standard deviation of the log knee, and the mean spread."""
    knees = weights.sum(axis=0)
    mean = float(knees @ KNEES)
    return mean, math.sqrt(float(knees @ (KNEES - mean) ** 2)), float(weights.sum(axis=1) @ SPREADS[:, 0])


def _expected_entropy(weights: Grid, log_rate: float) -> float:
    """Return the entropy that knee and spread are expected to have left after a slice at this rate."""
    held = weights * _holds(log_rate)
    return sum(float(part.sum() * special.entr(part / part.sum()).sum()) for part in (held, weights - held))
