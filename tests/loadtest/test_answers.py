"""From records to answers, on computed runs whose truth is known."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadtest.judge.answers import Answer, Pair, answer_run, floor, recommend
from loadtest.judge.gates import Gate
from loadtest.judge.inference import Comparison, Interval
from loadtest.judge.steps import JudgedStep, knee_of
from loadtest.records.histogram import Histogram
from loadtest.records.model import Cell, Limits, Step
from loadtest.records.recording import Series
from loadtest.report.words import failure, note, sentence
from tests.loadtest.synthetic import PROOF, cell, manifest, run, step, stored

THREE = ("sync", "gthread", "gevent")
WAIT = ("wait",)
FAST = {("wait", "sync"): 40.0, ("wait", "gthread"): 240.0, ("wait", "gevent"): 240.0}


def answer(cells: list[Cell] | None = None, candidates: tuple[str, ...] = THREE, **changes: object) -> Answer:
    plan = manifest(candidates, WAIT, **changes)
    return answer_run(plan, run(plan, FAST) if cells is None else cells).answers[0]


def said(found: Answer, **changes: object) -> str:
    return sentence(manifest(THREE, WAIT, **changes), found)


def test_a_large_difference_is_a_verdict_with_its_interval() -> None:
    found = answer()
    pair = found.between("sync", "gthread")

    assert pair is not None
    assert pair.comparison is Comparison.HIGHER
    assert pair.interval.low < 6 < pair.interval.high
    assert found.recommended == "gthread"
    assert "times as much as sync" in said(found)
    assert "with p99 ≤ 200 ms" in said(found)


def test_without_a_difference_the_simpler_one_is_recommended() -> None:
    plan = manifest(THREE, WAIT)
    found = answer_run(plan, run(plan, {})).answers[0]

    assert found.recommended == "sync"
    assert all(pair.comparison in {Comparison.TIE, Comparison.UNDECIDED} for pair in found.pairs)
    assert "simplest" in said(found)


@pytest.mark.parametrize(("more", "recommended"), [(1.08, "sync"), (1.3, "gthread")])
def test_a_simpler_one_gives_way_only_to_what_is_shown_to_carry_more_than_the_margin(more: float, recommended: str) -> None:
    plan = manifest(("sync", "gthread"), WAIT)
    found = answer_run(plan, run(plan, {("wait", "sync"): 100.0, ("wait", "gthread"): 100.0 * more}, noise=0.02)).answers[0]
    (pair,) = found.pairs

    assert pair.comparison is Comparison.HIGHER
    assert (pair.interval.low > 1.05) == (recommended == "gthread")
    assert found.recommended == recommended
    assert ("not shown to be more than 5 % less, and sync is simpler" in said(found)) == (recommended == "sync")


def test_what_a_simpler_one_was_shown_to_beat_is_not_recommended() -> None:
    """With sync out, because gevent carries more by over the margin, gthread does not take its place, which carries less than sync."""
    more, less, noisy = Interval(1.1, 1.2, 1.31), Interval(0.84, 0.91, 0.99), Interval(0.9, 1.2, 1.6)
    pairs = [
        Pair("sync", "gevent", more, Comparison.HIGHER),
        Pair("sync", "gthread", less, Comparison.LOWER),
        Pair("gthread", "gevent", noisy, Comparison.UNDECIDED),
    ]

    assert recommend(answer().candidates, pairs, 0.05) == "gevent"
    assert recommend(answer().candidates, pairs[1:], 0.05) == "sync"


def test_a_tie_is_called_one_when_the_noise_allows() -> None:
    plan = manifest(THREE, WAIT)
    found = answer_run(plan, run(plan, {}, noise=0.002)).answers[0]

    assert {pair.comparison for pair in found.pairs} == {Comparison.TIE}
    assert "a tie (within ±5 %)" in said(found)


def test_a_smoke_run_gives_no_verdict() -> None:
    smoke: dict[str, Any] = {"gives_verdict": False, "profile": "smoke", "blocks": 1}
    found = answer(**smoke)

    assert found.recommended is None
    assert said(found, **smoke).startswith("No verdict")


def hot(one: Cell) -> Cell:
    """Return the cell with a generator that was busy in every step."""
    return replace(one, steps=tuple(replace(step, generator_cpu_share=0.91) for step in one.steps))


def test_invalid_runs_are_left_out_and_shown() -> None:
    plan = manifest(THREE, WAIT)
    cells = [hot(c) if c.candidate == "gevent" and c.block else c for c in run(plan, FAST)]
    found = answer(cells)
    gevent = found.candidates[2]

    assert gevent.throughput is None
    assert list(gevent.knees_per_s) == [0]
    assert "too few valid runs of gevent" in said(found)
    assert all("gevent" not in (pair.base, pair.other) for pair in found.pairs)


def test_a_saved_run_is_judged_anew_with_another_gate(tmp_path: Path) -> None:
    """What is believed is not in the files: the same cells, with the limit in the manifest changed, give another answer."""
    plan = manifest(THREE, WAIT)
    store = stored(tmp_path / "run", plan, [hot(c) if c.candidate == "gevent" else c for c in run(plan, FAST)])
    tolerant = replace(plan, limits=replace(plan.limits, generator_cpu_share=0.95))
    strict, lenient = (answer_run(made, store.cells()) for made in (store.manifest(), tolerant))

    assert {problem.gate for one in strict.cells for problem in one.invalid} == {Gate.GENERATOR_CPU}
    assert (strict.answers[0].recommended, strict.answers[0].candidates[2].throughput) == ("gthread", None)
    assert lenient.answers[0].candidates[2].throughput
    assert not any(one.invalid for one in lenient.cells)


def test_a_cell_file_holds_no_judgement(tmp_path: Path) -> None:
    """Nobody adds one unseen: these are all the fields that there are, and each is something that was read or asked for."""
    plan = manifest(THREE, WAIT, blocks=1)
    text = json.loads(next((stored(tmp_path / "run", plan, run(plan, FAST)).folder / "cells").iterdir()).read_text())
    (step, *_) = text["steps"]

    assert text.keys() == {"format", "workload", "candidate", "block", "kind", "attempt", "started", "proof", "steps"}
    asked = {"load", "rate_per_s", "duration_s"}
    shares = {"generator_cpu_share", "steal_share", "others_cpu_share"}
    assert step.keys() == asked | shares | {"warm_up_s", "settled", "recording", "in_flight_mean", "server", "gateway"}
    assert step["recording"].keys() == {"duration_s", "offered", "dropped", "unfinished", "slip", "series", "errors"}


def test_a_repeated_run_takes_the_place_of_the_invalid_one() -> None:
    plan = manifest(THREE, WAIT)
    cells = run(plan, FAST)
    invalid = [hot(c) for c in cells if c.candidate == "gevent"]
    repeated = [replace(c, attempt=2) for c in cells if c.candidate == "gevent"]
    found = answer([c for c in cells if c.candidate != "gevent"] + invalid + repeated)

    assert len(found.candidates[2].knees_per_s) == plan.blocks


def test_a_server_that_answers_errors_fast_never_wins() -> None:
    plan = manifest(THREE, WAIT)
    chance = np.random.default_rng(1)
    work = plan.workloads[0]
    errors = tuple(step(work, rate, 10_000, chance, errors=int(rate * 5)) for rate in (50.0, 500.0))
    cells = [c for c in run(plan, FAST) if c.candidate != "gevent"]
    cells += [cell(work, plan.candidates[2], block, kind="knee", steps=errors) for block in range(plan.blocks)]
    found = answer(cells)

    assert found.recommended == "gthread"
    assert found.candidates[2].failure
    assert failure(found.candidates[2].failure, 200) == "50 % errors at 50/s, mostly status 502"
    assert "gevent did not hold the objective" in said(found)


def test_little_is_said_when_a_run_is_short_of_blocks() -> None:
    found = answer(blocks=2)

    assert found.recommended is None
    assert "fewer than 3 valid runs" in said(found)


@pytest.mark.parametrize(
    ("proof", "wanted"),
    [
        ({"gevent_patched": True, "database_driver": {"name": "psycopg", "cooperative": False}}, "the database driver psycopg blocks"),
        ({"slots_per_process": 16, "database_pool_size": 5}, "16 requests at once in a process share 5 database connections"),
        ({"slots_per_process": 1, "gateway_buffers": False}, "nothing buffers in front of it"),
        ({"timeout_s": 0.01}, "is above its timeout"),
    ],
)
def test_a_misdeployment_is_named(proof: dict[str, object], wanted: str) -> None:
    plan = manifest(THREE, WAIT)
    found = answer([replace(c, proof=PROOF | proof) for c in run(plan, FAST)])

    assert any(wanted in note(one) for one in found.notes)


def test_a_sound_run_has_no_notes() -> None:
    plan = manifest(THREE, WAIT)
    proof = PROOF | {"gevent_patched": True, "database_driver": {"name": "pysqlite", "cooperative": False}}

    assert answer().notes == ()
    assert answer([replace(c, proof=proof) for c in run(plan, FAST)]).notes == ()


def test_more_than_the_slots_allow_is_a_contradiction() -> None:
    plan = manifest(THREE, WAIT)
    found = answer(run(plan, {("wait", "sync"): 600.0, ("wait", "gthread"): 300.0, ("wait", "gevent"): 300.0}))

    assert any(note(one).startswith("sync: gave") and "3 slots" in note(one) for one in found.notes)


def test_littles_law_is_checked() -> None:
    plan = manifest(THREE, WAIT)
    cells = [replace(c, steps=tuple(replace(s, in_flight_mean=s.in_flight_mean * 3 + 10) for s in c.steps)) for c in run(plan, FAST)]

    assert any("Little's law" in note(one) for one in answer(cells).notes)


def test_littles_law_is_not_asked_of_a_queue_that_grows() -> None:
    plan = manifest(THREE, WAIT)
    work = plan.workloads[0]

    def growing(sound: Step) -> Step:
        grows = not JudgedStep(sound, work, plan.limits).holds
        return replace(sound, in_flight_mean=sound.in_flight_mean * 3 + 10) if grows else sound

    overloaded = [replace(c, steps=tuple(growing(s) for s in c.steps)) for c in run(plan, FAST)]
    assert answer(overloaded).notes == ()


@pytest.mark.parametrize(("stall_s", "notes"), [(1.0, 0), (0.05, 1)])
def test_littles_law_knows_that_a_step_has_two_ends(stall_s: float, notes: int) -> None:
    """Some who came before the step were still on their way in it: after a stall that may be many, without one it cannot be."""
    plan = manifest(("sync", "gthread"), WAIT)
    sound = step(plan.workloads[0], 100.0, 400.0, np.random.default_rng(1))
    seen = sound.recording
    times = Histogram.of_seconds([*[0.05] * 998, stall_s, stall_s])
    stalled = replace(seen, series={name: Series(times, times, Histogram.of_seconds([])) for name in seen.series})
    one = replace(sound, recording=stalled, in_flight_mean=15.0)  # 5 by the law
    cells = [cell(plan.workloads[0], plan.candidates[0], block, kind="knee", steps=(one,)) for block in range(plan.blocks)]

    told = [note(one) for one in answer(cells, ("sync", "gthread")).notes if "Little's law" in note(one)]
    assert [text.partition(":")[0] for text in told] == ["sync"] * notes


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
    search = [JudgedStep(step(work, capacity * share, capacity, chance), work, Limits()) for share in (0.5, 0.7, 0.9, 1.1, 1.3)]

    assert knee_of(search) == pytest.approx(capacity, rel=0.15)


def test_the_knee_needs_valid_steps() -> None:
    work = manifest(THREE, WAIT).workloads[0]
    chance = np.random.default_rng(1)
    bad = JudgedStep(step(work, 100.0, 300.0, chance, generator_cpu_share=0.9), work, Limits())
    above = JudgedStep(step(work, 900.0, 300.0, chance), work, Limits())

    assert knee_of([bad]) is None
    assert knee_of([bad, above]) == 0
