"""What a run costs and what it will see, before anything runs."""

import math
from dataclasses import replace

import pytest

from loadtest.plan import FIRST_START_S, MOST_BLOCKS, PROFILES, block_spread, blocks_for, blocks_in, minutes, probe, sees
from tests.loadtest.synthetic import manifest

FOUR = ("sync", "gthread", "gevent", "tornado")
PLAN = manifest(FOUR, PROFILES["quick"].workloads)


def test_the_two_questions_agree() -> None:
    """In as many minutes as a difference needs it is seen, and with a block less it is not."""
    blocks = blocks_for(0.1, 0.06, PLAN)

    assert blocks is not None
    assert blocks_in(PLAN, minutes(PLAN, blocks)) == blocks
    seen, before = sees(0.06, PLAN, blocks), sees(0.06, PLAN, blocks - 1)
    assert seen is not None
    assert before is not None
    assert seen <= 0.1 < before


def test_what_is_out_of_reach_and_too_short_is_known() -> None:
    assert blocks_for(0.001, 0.06, PLAN) is None
    assert blocks_in(PLAN, 0.5) == 0
    assert sees(0.06, PLAN, 2) is None
    assert blocks_for(0.5, 0.06, PLAN) in range(3, MOST_BLOCKS)


def test_noise_costs_sight() -> None:
    calm, noisy = (block_spread(spread, PLAN) for spread in (0.01, 0.3))

    assert calm < noisy
    assert block_spread(0.1, replace(PLAN, pace=replace(PLAN.pace, rounds=20))) == pytest.approx(block_spread(0.1, PLAN) / 2)


@pytest.mark.parametrize("under", FIRST_START_S)
@pytest.mark.parametrize("name", ["smoke", "quick"])
def test_a_profile_has_time_for_most_of_its_blocks(name: str, under: str) -> None:
    """With the four candidates that are compared by default; as soon as a pair is decided there is time for the rest."""
    profile = PROFILES[name]
    plan = manifest(FOUR, profile.workloads)
    plan = replace(plan, pace=profile.pace, machine=replace(plan.machine, runtime=under))

    assert blocks_in(plan, profile.pace.minutes) >= 0.7 * profile.pace.blocks


def test_the_probe_looks_at_the_processor_alone() -> None:
    spread = probe((), lasts_s=0.6)

    assert 0 < spread < 10
    assert math.isfinite(spread)
