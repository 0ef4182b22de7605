"""From records to answers, on computed runs whose truth is known."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from loadtest.histogram import Histogram
from loadtest.inference import Interval, Verdict
from loadtest.knee import Outcome, knee_of
from loadtest.recorder import Recording, Series
from loadtest.records import Cell, Limits, Step
from loadtest.verdicts import Answer, Pair, between, floor, recommend, results
from tests.loadtest.synthetic import PROOF, cell, manifest, run, step

THREE = ("sync", "gthread", "gevent")
WAIT = ("wait",)
FAST = {("wait", "sync"): 40.0, ("wait", "gthread"): 240.0, ("wait", "gevent"): 240.0}


def answer(cells: list[Cell] | None = None, candidates: tuple[str, ...] = THREE, **changes: object) -> Answer:
    plan = manifest(candidates, WAIT, **changes)
    return results(plan, run(plan, FAST) if cells is None else cells).answers[0]


def test_a_large_difference_is_a_verdict_with_its_interval() -> None:
    found = answer()
    pair = between("sync", "gthread", found.pairs)

    assert pair is not None
    assert pair.verdict is Verdict.HIGHER
    assert pair.interval.low < 6 < pair.interval.high
    assert found.recommended == "gthread"
    assert "times as much as sync" in found.sentence
    assert "with p99 ≤ 200 ms" in found.sentence


def test_without_a_difference_the_simpler_one_is_recommended() -> None:
    plan = manifest(THREE, WAIT)
    found = results(plan, run(plan, {})).answers[0]

    assert found.recommended == "sync"
    assert all(pair.verdict in {Verdict.TIE, Verdict.UNDECIDED} for pair in found.pairs)
    assert "simplest" in found.sentence


@pytest.mark.parametrize(("more", "recommended"), [(1.08, "sync"), (1.3, "gthread")])
def test_a_simpler_one_gives_way_only_to_what_is_shown_to_carry_more_than_the_margin(more: float, recommended: str) -> None:
    plan = manifest(("sync", "gthread"), WAIT)
    found = results(plan, run(plan, {("wait", "sync"): 100.0, ("wait", "gthread"): 100.0 * more}, noise=0.02)).answers[0]
    (pair,) = found.pairs

    assert pair.verdict is Verdict.HIGHER
    assert (pair.interval.low > 1.05) == (recommended == "gthread")
    assert found.recommended == recommended
    assert ("not shown to be more than 5% less, and sync is simpler" in found.sentence) == (recommended == "sync")


def test_what_a_simpler_one_was_shown_to_beat_is_not_recommended() -> None:
    """With sync out, because gevent carries more by over the margin, gthread does not take its place, which carries less than sync."""
    more, less, noisy = Interval(1.1, 1.2, 1.31), Interval(0.84, 0.91, 0.99), Interval(0.9, 1.2, 1.6)
    pairs = [
        Pair("sync", "gevent", more, Verdict.HIGHER),
        Pair("sync", "gthread", less, Verdict.LOWER),
        Pair("gthread", "gevent", noisy, Verdict.UNDECIDED),
    ]

    assert recommend(answer().seen, pairs, 0.05) == "gevent"
    assert recommend(answer().seen, pairs[1:], 0.05) == "sync"


def test_a_tie_is_called_one_when_the_noise_allows() -> None:
    plan = manifest(THREE, WAIT)
    found = results(plan, run(plan, {}, noise=0.002)).answers[0]

    assert {pair.verdict for pair in found.pairs} == {Verdict.TIE}
    assert "a tie (within ±5%)" in found.sentence


def test_a_smoke_run_gives_no_verdict() -> None:
    found = answer(gives_verdict=False, profile="smoke", blocks=1)

    assert found.recommended is None
    assert found.sentence.startswith("No verdict")


def test_invalid_runs_are_left_out_and_shown() -> None:
    plan = manifest(THREE, WAIT)
    cells = [replace(c, invalid=("generator at 91 % of a core",)) if c.candidate == "gevent" and c.block else c for c in run(plan, FAST)]
    found = answer(cells)
    gevent = found.seen[2]

    assert gevent.throughput is None
    assert list(gevent.knees_per_s) == [0]
    assert "too few valid runs of gevent" in found.sentence
    assert gevent.invalid[0] == "block 1: generator at 91 % of a core"
    assert all("gevent" not in (pair.base, pair.other) for pair in found.pairs)


def test_a_repeated_run_takes_the_place_of_the_invalid_one() -> None:
    plan = manifest(THREE, WAIT)
    cells = run(plan, FAST)
    invalid = [replace(c, invalid=("slip",)) for c in cells if c.candidate == "gevent"]
    repeated = [replace(c, attempt=2) for c in cells if c.candidate == "gevent"]
    found = answer([c for c in cells if c.candidate != "gevent"] + invalid + repeated)

    assert len(found.seen[2].knees_per_s) == plan.blocks


def test_a_server_that_answers_errors_fast_never_wins() -> None:
    plan = manifest(THREE, WAIT)
    chance = np.random.default_rng(1)
    work = plan.workloads[0]
    errors = tuple(step(work, rate, 10_000, chance, errors=int(rate * 5)) for rate in (50.0, 500.0))
    cells = [c for c in run(plan, FAST) if c.candidate != "gevent"]
    cells += [cell(work, plan.candidates[2], block, kind="knee", steps=errors) for block in range(plan.blocks)]
    found = answer(cells)

    assert found.recommended == "gthread"
    assert "50.0% errors at 50/s, mostly status 502" in found.seen[2].failed
    assert "gevent did not hold the objective" in found.sentence


def test_little_is_said_when_a_run_is_short_of_blocks() -> None:
    found = answer(blocks=2)

    assert found.recommended is None
    assert "fewer than 3 valid runs" in found.sentence


@pytest.mark.parametrize(
    ("proof", "note"),
    [
        ({"gevent_patched": True, "database_driver": {"name": "psycopg", "cooperative": False}}, "the database driver psycopg blocks"),
        ({"slots_per_process": 16, "database_pool_size": 5}, "16 requests at once in a process share 5 database connections"),
        ({"slots_per_process": 1, "gateway_buffers": False}, "nothing buffers in front of it"),
        ({"timeout_s": 0.01}, "is above its timeout"),
    ],
)
def test_a_misdeployment_is_named(proof: dict[str, object], note: str) -> None:
    plan = manifest(THREE, WAIT)
    found = answer([replace(c, proof=PROOF | proof) for c in run(plan, FAST)])

    assert any(note in said for said in found.notes)


def test_a_sound_run_has_no_notes() -> None:
    plan = manifest(THREE, WAIT)
    proof = PROOF | {"gevent_patched": True, "database_driver": {"name": "pysqlite", "cooperative": False}}

    assert answer().notes == ()
    assert answer([replace(c, proof=proof) for c in run(plan, FAST)]).notes == ()


def test_more_than_the_slots_allow_is_a_contradiction() -> None:
    plan = manifest(THREE, WAIT)
    found = answer(run(plan, {("wait", "sync"): 600.0, ("wait", "gthread"): 300.0, ("wait", "gevent"): 300.0}))

    assert any(note.startswith("sync gave") and "3 slots" in note for note in found.notes)


def test_littles_law_is_checked() -> None:
    plan = manifest(THREE, WAIT)
    cells = [replace(c, steps=tuple(replace(s, in_flight_mean=s.in_flight_mean * 3 + 10) for s in c.steps)) for c in run(plan, FAST)]

    assert any("Little's law" in note for note in answer(cells).notes)


def test_littles_law_is_not_asked_of_a_queue_that_grows() -> None:
    plan = manifest(THREE, WAIT)
    work = plan.workloads[0]

    def growing(sound: Step) -> Step:
        grows = not Outcome(sound, work).holds(plan.limits)
        return replace(sound, in_flight_mean=sound.in_flight_mean * 3 + 10) if grows else sound

    overloaded = [replace(c, steps=tuple(growing(s) for s in c.steps)) for c in run(plan, FAST)]
    assert answer(overloaded).notes == ()


CLOSED = {"purpose": "closed", "rate_per_s": 0.0, "users": 15}


@pytest.mark.parametrize(("kind", "asked"), [({}, "sync at 100/s"), (CLOSED, "sync with 15 visitors")])
@pytest.mark.parametrize(("stall_s", "notes"), [(1.0, 0), (0.05, 1)])
def test_littles_law_knows_that_a_step_has_two_ends(stall_s: float, notes: int, kind: dict[str, Any], asked: str) -> None:
    """Some who came before the step were still on their way in it: after a stall that may be many, without one it cannot be."""
    plan = manifest(("sync", "gthread"), WAIT)
    sound = step(plan.workloads[0], 100.0, 400.0, np.random.default_rng(1))
    seen = Recording.from_json(sound.recording)
    times = Histogram.of_seconds([*[0.05] * 998, stall_s, stall_s])
    stalled = replace(seen, series={name: Series(times, times, Histogram.of_seconds([])) for name in seen.series})
    one = replace(sound, recording=stalled.as_json(), in_flight_mean=15.0, **kind)  # 5 by the law
    cells = [cell(plan.workloads[0], plan.candidates[0], block, kind="knee", steps=(one,)) for block in range(plan.blocks)]

    said = [note for note in answer(cells, ("sync", "gthread")).notes if "Little's law" in note]
    assert [note.partition(":")[0] for note in said] == [asked] * notes


def test_the_floor_is_what_the_generator_shows_at_rates_it_can_make() -> None:
    plan = manifest(THREE, WAIT)
    able = plan.calibration[0]
    hot = replace(able, rate_per_s=5000.0, p99_ms=900.0, generator_cpu_share=0.95)
    late = replace(able, rate_per_s=9000.0, p99_ms=800.0, achieved_share=0.4)

    assert floor(replace(plan, calibration=(able, hot, late))) == able.p99_ms
    assert floor(replace(plan, calibration=(hot,))) is None


@pytest.mark.parametrize("capacity", [50.0, 330.0, 800.0])
def test_the_knee_is_near_the_capacity(capacity: float) -> None:
    work = manifest(THREE, WAIT).workloads[0]
    chance = np.random.default_rng(1)
    search = [Outcome(step(work, capacity * share, capacity, chance), work) for share in (0.5, 0.7, 0.9, 1.1, 1.3)]

    assert knee_of(search, Limits()) == pytest.approx(capacity, rel=0.15)


def test_the_knee_needs_valid_steps() -> None:
    work = manifest(THREE, WAIT).workloads[0]
    chance = np.random.default_rng(1)
    bad = Outcome(step(work, 100.0, 300.0, chance, problems=("slip",)), work)
    above = Outcome(step(work, 900.0, 300.0, chance), work)

    assert knee_of([bad], Limits()) is None
    assert knee_of([bad, above], Limits()) == 0
