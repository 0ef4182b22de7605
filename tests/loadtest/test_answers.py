"""From records to answers, on computed runs whose truth is known."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadtest.catalogue import load_candidates
from loadtest.judge.answers import Answer, Compared, Pair, answer_run, floor, percentile_ms, recommend, undecided
from loadtest.judge.inference import Comparison, Interval
from loadtest.judge.plausibility import NoteKind
from loadtest.judge.slices import judge_slices
from loadtest.judge.validity import Gate
from loadtest.records.histogram import Histogram
from loadtest.records.model import Manifest
from loadtest.records.recording import Series
from loadtest.records.slices import Loss, Record, Slice, Start
from loadtest.report import words
from tests.loadtest.synthetic import PROOF, load, manifest, run, stored

THREE = ("sync", "gthread", "gevent")
TWO = THREE[:2]
WAIT, JSON = ("wait",), ("json",)
FAST = {("wait", "sync"): 40.0, ("wait", "gthread"): 240.0, ("wait", "gevent"): 240.0}


@cache
def fast() -> tuple[Record, ...]:
    return tuple(run(manifest(THREE, WAIT), FAST, seed=2))


def answer(records: tuple[Record, ...] | list[Record] | None = None, **changes: object) -> Answer:
    return answer_run(manifest(THREE, WAIT, **changes), fast() if records is None else records).answers[0]


def changed(records: tuple[Record, ...] | list[Record], which: Callable[[Slice], bool], **changes: Any) -> list[Record]:
    """Return the records with some of the slices changed."""
    return [replace(one, **changes) if isinstance(one, Slice) and which(one) else one for one in records]


def test_a_large_difference_is_a_verdict_with_its_interval() -> None:
    pair = answer().between("sync", "gthread")

    assert pair is not None
    assert pair.interval is not None
    assert (pair.comparison, pair.rests_on) == (Comparison.HIGHER, "knee")
    assert 5.5 < pair.interval.ratio < 7.5  # capacities are 1 to 6; few slow requests must stay further below theirs
    assert answer().recommended == "gthread"


def test_what_a_request_costs_is_compared_in_the_same_rounds() -> None:
    """The simulated machine drifts by a sixth, for all alike: paired, the ratio of costs is known to a few per cent."""
    pair = answer().between("sync", "gthread")

    assert pair is not None
    assert pair.cpu is not None
    assert pair.cpu.interval.low < 40 / 240 < pair.cpu.interval.high
    assert pair.cpu.interval.high / pair.cpu.interval.low < 1.5
    assert answer().candidates[0].cpu_us["server"].ratio == pytest.approx(5e5 / 40, rel=0.1)


def test_without_a_difference_the_simpler_one_is_recommended() -> None:
    plan = manifest(THREE, WAIT)
    found = answer_run(plan, run(plan, {})).answers[0]

    assert found.recommended == "sync"
    assert all(pair.comparison in {Comparison.TIE, Comparison.UNDECIDED} for pair in found.pairs)


@pytest.mark.parametrize(("work", "rests_on", "verdict"), [("json", "cpu", Comparison.TIE), ("page", "knee", Comparison.UNDECIDED)])
def test_where_the_work_only_computes_the_verdict_may_rest_on_processor_time(work: str, rests_on: str, verdict: Comparison) -> None:
    plan = manifest(TWO, (work,), blocks=12)
    used = {one.candidate: one.server for one in fast() if isinstance(one, Slice)}["sync"]
    records = [
        replace(one, server=replace(used, cpu_ns=800_000 * one.recording.all.latency.count)) if isinstance(one, Slice) else one
        for one in run(plan, {}, noise=0.04)
    ]
    (pair,) = answer_run(plan, records).answers[0].pairs

    assert pair.knee is not None
    assert pair.knee.comparison is Comparison.UNDECIDED
    assert (pair.rests_on, pair.comparison) == (rests_on, verdict)


def test_whoever_needs_less_for_a_request_carries_more() -> None:
    less = Compared(Interval(0.8, 0.85, 0.9), Comparison.LOWER, 8, 0.03)
    pair = Pair("sync", "gevent", None, less, "cpu")

    assert pair.comparison is Comparison.HIGHER
    assert pair.interval == less.interval.inverse()
    assert pair.turned().comparison is Comparison.LOWER


def test_what_a_simpler_one_was_shown_to_beat_is_not_recommended() -> None:
    """With sync out, because gevent carries more by over the margin, gthread does not take its place, which carries less than sync."""
    more, less, noisy = Interval(1.1, 1.2, 1.31), Interval(0.84, 0.91, 0.99), Interval(0.9, 1.2, 1.6)
    pairs = [
        Pair("sync", "gevent", Compared(more, Comparison.HIGHER, 8, 0.05), None),
        Pair("sync", "gthread", Compared(less, Comparison.LOWER, 8, 0.05), None),
        Pair("gthread", "gevent", Compared(noisy, Comparison.UNDECIDED, 8, 0.2), None),
    ]

    assert recommend(answer().candidates, pairs, 0.05) == "gevent"
    assert recommend(answer().candidates, pairs[1:], 0.05) == "sync"


def test_a_simpler_one_gives_way_only_to_what_is_shown_to_carry_more_than_the_margin() -> None:
    wide, clear = Interval(1.01, 1.08, 1.15), Interval(1.06, 1.12, 1.19)

    for found, recommended in ((wide, "sync"), (clear, "gthread")):
        pair = Pair("sync", "gthread", Compared(found, Comparison.HIGHER, 8, 0.05), None)
        assert recommend(answer().candidates[:2], [pair], 0.05) == recommended


def test_the_report_says_what_moving_would_bring_and_never_recommends_the_limit() -> None:
    """The limit carries most, and by far: it is no server for a site."""
    plan = manifest(("modwsgi", "gthread", "bare"), JSON)
    found = answer_run(plan, run(plan, {("json", "modwsgi"): 100.0, ("json", "gthread"): 200.0, ("json", "bare"): 800.0})).answers[0]
    moving, stay, limit = words.moving(found)

    assert found.recommended == "gthread"
    assert "bare" not in words.sentence(plan, found)
    assert re.fullmatch(r"From Apache with mod_wsgi \(modwsgi\) to gthread: [12]\.\d\d times as much \[.+\], more.*", moving)
    assert stay.endswith("to gthread: nothing, no other was shown to carry more")
    assert re.fullmatch(r"Against bare, the limit: modwsgi 0\.1\d times \[.+\] and gthread 0\.2\d times \[.+\]", limit)
    plan = replace(plan, candidates=tuple(replace(one, limit=False) for one in plan.candidates))
    assert answer_run(plan, run(plan, {("json", "bare"): 800.0})).answers[0].recommended == "bare"


def test_the_report_says_for_every_server_what_moving_would_bring_or_why_it_cannot_tell() -> None:
    plan = manifest(tuple(load_candidates()), JSON)
    records = run(plan, {("json", "gthread"): 800.0})
    lost = Loss(block=1, candidate="tornado", reason="it ended", at_s=60.0)
    found = answer_run(plan, [*(one for one in records if one.candidate != "tornado" or one.block < 1), lost]).answers[0]
    told = dict(re.findall(r"^From .+ \((.+?)\) to gthread: (.+)$", "\n".join(words.moving(found)), re.MULTILINE))

    assert [*told] == [one.name for one in plan.candidates if not one.limit]
    assert told.pop("tornado") == "cannot tell, died: it ended"
    assert all(re.match(r"nothing|\d+\.\d\d times as much \[", text) for text in told.values()), told


def test_a_smoke_run_gives_no_verdict() -> None:
    assert answer(gives_verdict=False, profile="smoke").recommended is None


def hot(which: Callable[[Slice], bool], records: tuple[Record, ...] | list[Record] | None = None) -> list[Record]:
    """Return the records with a generator that was busy in some of the slices."""
    return changed(fast() if records is None else records, which, generator=load_of(0.91))


def load_of(cores: float) -> Any:
    return replace(next(one for one in fast() if isinstance(one, Slice)).generator, cpu_ns=round(cores * 1e9))


def test_invalid_slices_are_left_out_and_counted() -> None:
    found = answer(hot(lambda one: one.candidate == "gevent" and one.block > 1))
    gevent = found.candidates[2]

    assert (gevent.slices, gevent.invalid) == (10, 30)
    assert gevent.throughput is None
    assert list(gevent.knees_per_s) == [0, 1]
    assert all(pair.interval is None for pair in found.pairs if "gevent" in {pair.base, pair.other})
    assert found.recommended == "gthread"


def test_where_the_generator_was_busy_all_the_time_nothing_is_recommended() -> None:
    found = answer(hot(lambda _: True))

    assert found.recommended is None
    assert [one.slices for one in found.candidates] == [0, 0, 0]


def test_a_saved_run_is_judged_anew_with_another_gate(tmp_path: Path) -> None:
    """What is believed is not in the files: the same records, with the limit in the manifest changed, give another answer."""
    plan = manifest(THREE, WAIT)
    store = stored(tmp_path / "run", plan, hot(lambda one: one.candidate == "gevent"))
    tolerant = replace(plan, limits=replace(plan.limits, generator_cpu_share=0.95))
    strict, lenient = (answer_run(made, store.records()) for made in (store.manifest(), tolerant))

    assert {problem.gate for one in strict.slices for problem in one.problems} == {Gate.GENERATOR_CPU}
    assert strict.answers[0].candidates[2].throughput is None
    assert lenient.answers[0].candidates[2].throughput
    assert not any(one.problems for one in lenient.slices)


def test_a_record_holds_no_judgement(tmp_path: Path) -> None:
    """Nobody adds one unseen: these are all the fields that there are, and each is something that was read or asked for."""
    plan = manifest(TWO, WAIT, blocks=1)
    lines = (stored(tmp_path / "run", plan, run(plan, FAST)).folder / "records.jsonl").read_text().splitlines()
    one = next(told for told in map(json.loads, lines) if told["kind"] == "slice")

    asked = {"kind", "workload", "candidate", "block", "round", "at_s", "rate_per_s", "calm", "settle_s", "duration_s"}
    used = {"server", "gateway", "rest", "generator", "idle_cpu_ns", "steal_share", "others_cpu_share"}
    assert one.keys() == asked | used | {"recording", "in_flight_mean"}
    assert one["recording"].keys() == {"duration_s", "offered", "dropped", "unfinished", "slip", "series", "errors", "received_bytes"}


def test_a_server_that_answers_errors_fast_never_wins() -> None:
    plan, chance = manifest(THREE, WAIT), np.random.default_rng(1)
    records = [one for one in fast() if not (isinstance(one, Slice) and one.candidate == "gevent")]
    records += [
        load(plan.workloads[0], "gevent", rate, 10_000, chance, errors=int(rate / 2), block=block, round=block)
        for block in range(plan.pace.blocks)
        for rate in (50.0, 500.0)
    ]
    found = answer(records)
    failure = found.candidates[2].failure

    assert found.recommended == "gthread"
    assert failure is not None
    assert (failure.rate_per_s, failure.mostly) == (50.0, "status 502")
    assert failure.error_share == pytest.approx(0.5, abs=0.15)


def test_a_candidate_that_died_is_not_recommended() -> None:
    lost = Loss(candidate="gthread", block=6, at_s=100.0, reason="gone")
    found = answer([*fast(), lost])

    assert found.candidates[1].lost is lost
    assert found.recommended == "gevent"


def test_no_percentile_comes_from_fewer_requests_than_it_needs() -> None:
    few, enough = (Histogram.of_seconds([0.01] * number) for number in (999, 1000))

    assert percentile_ms(few, 0.99) is None
    assert percentile_ms(enough, 0.99) == pytest.approx(10, rel=0.01)
    assert percentile_ms(few, 0.5) is not None
    bands = [at for one in answer().candidates for at in one.curve]
    assert {at.p99_ms is None for at in bands if at.requests < 1000} == {True}
    assert all(at.p99_ms for at in bands if at.requests >= 1000)
    assert answer().candidates[0].curve[0].share == pytest.approx(0.7, abs=0.1)


def judged(plan: Manifest, records: list[Record] | tuple[Record, ...], blocks: int) -> Any:
    return judge_slices(plan, [one for one in records if isinstance(one, Slice) and one.block < blocks])


def test_slices_go_to_the_pairs_that_are_undecided() -> None:
    """Sync is known to carry less long before the end; gthread and gevent, which are equal, are measured on."""
    plan = manifest(THREE, WAIT)
    both = {("gthread", "wait"), ("gevent", "wait")}

    assert undecided(plan, judged(plan, fast(), 2)) == both | {("sync", "wait")}
    assert undecided(plan, judged(plan, fast(), 4)) == both | {("sync", "wait")}  # six times as much [4.0 to 9.6]: more, but how much?
    assert undecided(plan, judged(plan, fast(), 8)) == both
    assert undecided(replace(plan, sees=0.5), judged(plan, fast(), 8)) == set()  # no difference of 50 %: that is all that was asked


def test_nobody_waits_for_a_candidate_that_was_lost() -> None:
    plan = manifest(THREE, WAIT)
    rest = [one for one in judged(plan, fast(), 8) if not (one.slice.candidate == "gevent" and one.slice.block > 5)]

    assert undecided(plan, rest) == set()


def test_with_one_candidate_or_without_a_verdict_only_the_time_ends_a_run() -> None:
    alone = manifest(("sync",), WAIT)
    smoke = manifest(THREE, WAIT, gives_verdict=False)

    assert undecided(alone, judged(alone, run(alone, {}), 8)) == {("sync", "wait")}
    assert len(undecided(smoke, judged(smoke, fast(), 8))) == 3


def with_proof(proof: dict[str, object]) -> list[Record]:
    return [replace(one, proof=PROOF | proof) if isinstance(one, Start) else one for one in fast()]


@pytest.mark.parametrize(
    ("proof", "kind"),
    [
        ({"gevent_patched": True, "database_driver": {"name": "psycopg", "cooperative": False}}, NoteKind.BLOCKING_DRIVER),
        ({"slots_per_process": 16, "database_pool_size": 5}, NoteKind.SMALL_POOL),
        ({"timeout_s": 0.01}, NoteKind.TIMEOUT),
    ],
)
def test_a_misdeployment_is_named(proof: dict[str, object], kind: NoteKind) -> None:
    assert kind in {one.kind for one in answer(with_proof(proof)).notes}


def test_a_sound_run_has_no_notes() -> None:
    proof = {"gevent_patched": True, "database_driver": {"name": "pysqlite", "cooperative": False}}

    assert answer().notes == ()
    assert answer(with_proof(proof)).notes == ()


def test_a_server_that_carries_less_the_longer_it_lives_is_named() -> None:
    plan = manifest(TWO, JSON)

    assert {one.kind for one in answer_run(plan, run(plan, {}, late=0.5)).answers[0].notes} == {NoteKind.TIRING}


def test_more_than_the_slots_allow_is_a_contradiction() -> None:
    plan = manifest(("sync",), WAIT)
    found = answer_run(plan, run(plan, {("wait", "sync"): 600.0})).answers[0].notes

    assert [(one.kind, one.candidate, one.facts[2]) for one in found] == [(NoteKind.CAPACITY, "sync", 3)]


def test_littles_law_is_checked_of_what_holds_the_objective() -> None:
    """Above the knee the queue grows, and the law is one of a steady state."""
    plan = manifest(THREE, WAIT)
    held = {id(one.slice) for one in judged(plan, fast(), 8) if one.holds}

    def with_more(which: Callable[[Slice], bool]) -> Answer:
        return answer([replace(r, in_flight_mean=r.in_flight_mean * 3 + 10) if isinstance(r, Slice) and which(r) else r for r in fast()])

    assert NoteKind.LITTLE in {one.kind for one in with_more(lambda one: id(one) in held).notes}
    assert with_more(lambda one: id(one) not in held).notes == ()


@pytest.mark.parametrize(("stall_s", "notes"), [(1.0, 0), (0.05, 1)])
def test_littles_law_knows_that_a_slice_has_two_ends(stall_s: float, notes: int) -> None:
    """Some who came before it were still on their way in it: after a stall that may be many, without one it cannot be."""
    plan = manifest(("sync",), WAIT)
    sound = load(plan.workloads[0], "sync", 100.0, 400.0, np.random.default_rng(1))
    times = Histogram.of_seconds([*[0.05] * 998, stall_s, stall_s])
    seen = replace(sound.recording, offered=1000, series={"wait": Series(times, times, Histogram.of_seconds([]))})
    one = replace(sound, recording=seen, duration_s=10.0, in_flight_mean=15.0)  # 5 by the law

    told = [note for note in answer_run(plan, [one]).answers[0].notes if note.kind is NoteKind.LITTLE]
    assert len(told) == notes


def test_the_floor_is_what_the_generator_shows_at_rates_it_can_make() -> None:
    plan = manifest(THREE, WAIT)
    able = plan.calibration[0]
    busy = replace(able, rate_per_s=5000.0, p99_ms=900.0, generator_cpu_share=0.95)
    late = replace(able, rate_per_s=9000.0, p99_ms=800.0, achieved_share=0.4)

    assert floor(replace(plan, calibration=(able, busy, late))) == able.p99_ms
    assert floor(replace(plan, calibration=(busy,))) is None


def test_what_a_run_did_not_see_is_said_in_minutes() -> None:
    found = answer()

    assert found.sees is not None
    assert found.sees > 0.05
    assert all(minutes > 0 for minutes in found.needs.values())
