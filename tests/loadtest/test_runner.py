"""Whole runs against servers whose truth is planted: what is measured, kept, left out, and never believed."""

from dataclasses import replace
from pathlib import Path

import pytest

from loadtest.judge.answers import answer_run
from loadtest.judge.slices import judge_slices
from loadtest.judge.validity import Gate
from loadtest.measure.generation import GeneratorProcess
from loadtest.measure.runner import calibrate
from loadtest.measure.servers import ServerError
from loadtest.measure.slicing import Bench, Place
from loadtest.records.model import Limits
from loadtest.records.slices import Loss, Slice, Start
from loadtest.records.store import Store
from loadtest.report import make_report
from loadtest.report.words import failure, sentence
from tests.loadtest.planted import TOLERANT, PlantedServers, candidate, measure, plan, workload

TWO = (candidate("quick", 4), candidate("slow", 20))


def slices(store: Store) -> list[Slice]:
    return [one for one in store.records() if isinstance(one, Slice)]


def test_a_run_visits_all_candidates_in_turn_and_judges_them(tmp_path: Path, generators: GeneratorProcess) -> None:
    servers = PlantedServers()
    store, progress = measure(tmp_path / "run", servers, plan(TWO), generators)
    records, seen = store.records(), slices(store)
    answer = answer_run(store.manifest(), records).answers[0]
    quick, slow = answer.candidates

    assert [one.starts for one in servers.running] == [3, 3]  # fresh processes for each block
    assert [(one.candidate, one.block) for one in records if isinstance(one, Start)] == [
        (n, b) for b in range(3) for n in ("quick", "slow")
    ]
    assert all(one.memory_bytes for one in records if isinstance(one, Start))
    for number in range(6):
        assert {one.candidate for one in seen if one.round == number} == {"quick", "slow"}
    assert {one.candidate for one in seen[::2]} == {"quick", "slow"}  # now this one is the first, now the other
    assert (progress[-1].block, progress[-1].round, progress[-1].slices) == (2, 5, 12)
    assert quick.throughput
    assert slow.throughput
    assert quick.throughput.ratio > slow.throughput.ratio
    assert slow.throughput.ratio <= 1000 / 20 * 1.3  # no more than it can do
    assert all(path.is_file() for path in make_report(store))


def test_a_slice_knows_what_every_part_used(tmp_path: Path, generators: GeneratorProcess) -> None:
    store, _ = measure(tmp_path / "run", PlantedServers(), plan(TWO, blocks=1, rounds=2), generators)

    visited = [one for one in slices(store) if one.recording.offered]  # on a busy machine a slice may be at a rate without an arrival
    assert {one.candidate for one in visited} == {candidate.name for candidate in TWO}
    for one in visited:
        assert one.server.cpu_ns
        assert one.generator.cpu_ns
        assert one.server.switches
        assert one.recording.received_bytes == 6 * one.recording.all.latency.count  # hello and a line end
        assert one.idle_cpu_ns is not None
        assert one.idle_cpu_ns < one.server.cpu_ns + 20_000_000


def test_an_interrupted_run_keeps_what_it_has(tmp_path: Path, generators: GeneratorProcess) -> None:
    def interrupt(_: str, starts: int) -> None:
        if starts == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(tmp_path / "run", PlantedServers(interrupt), plan(TWO), generators)

    assert {one.block for one in slices(Store(tmp_path / "run"))} == {0}
    assert make_report(Store(tmp_path / "run"))


def test_the_others_go_on_without_a_candidate_that_does_not_start_again(tmp_path: Path, generators: GeneratorProcess) -> None:
    def fail(name: str, starts: int) -> None:
        if (name, starts) == ("slow", 1):
            raise ServerError("slow: the engine does not answer")

    three = (*TWO, candidate("third", 8))
    store, _ = measure(tmp_path / "run", PlantedServers(fail), plan(three), generators)
    seen, (loss,) = slices(store), [one for one in store.records() if isinstance(one, Loss)]

    assert (loss.candidate, loss.block, loss.reason) == ("slow", 1, "slow: the engine does not answer")
    assert {(one.candidate, one.block) for one in seen} == {*((n, b) for b in range(3) for n in ("quick", "third")), ("slow", 0)}
    assert "slow died on the way" in sentence(store.manifest(), answer_run(store.manifest(), store.records()).answers[0])


def test_the_others_go_on_without_a_candidate_that_dies_in_the_middle(tmp_path: Path, generators: GeneratorProcess) -> None:
    dying = candidate("dying", 4, DIES_AFTER="60")
    store, _ = measure(tmp_path / "run", PlantedServers(), plan((dying, TWO[1]), blocks=1), generators)
    (loss,) = [one for one in store.records() if isinstance(one, Loss)]

    assert (loss.candidate, loss.reason) == ("dying", "dying: its processes have ended")
    assert len([one for one in slices(store) if one.candidate == "slow"]) == 2


def test_a_slow_generator_is_invalid_every_time(tmp_path: Path, generators: GeneratorProcess) -> None:
    # Enough arrivals in each slice, as two have to be late: a busy machine's rates are low.
    made = plan(TWO[:1], workload("SlowGenerator", slo_ms=100.0), fewest_requests=12, longest_slice_s=6.0)
    limits = replace(TOLERANT, slip_share_of_slo=Limits().slip_share_of_slo, generator_cpu_share=Limits().generator_cpu_share)
    store, _ = measure(tmp_path / "run", PlantedServers(), replace(made, limits=limits), generators)
    judged = judge_slices(store.manifest(), slices(store))
    answer = answer_run(store.manifest(), store.records()).answers[0]

    assert all(one.problems for one in judged)
    assert {problem.gate for one in judged for problem in one.problems} & {Gate.GENERATOR_LATE, Gate.GENERATOR_CPU}
    assert answer.recommended is None
    assert sentence(store.manifest(), answer).startswith("INVALID: 6 of 6 slices")


def test_a_server_that_answers_errors_fast_is_never_recommended(tmp_path: Path, generators: GeneratorProcess) -> None:
    made = plan((candidate("honest", 10), candidate("liar", 0, ERRORS="1")))
    store, _ = measure(tmp_path / "run", PlantedServers(), made, generators)
    answer = answer_run(store.manifest(), store.records()).answers[0]

    assert answer.recommended == "honest"
    assert answer.candidates[1].failure
    assert failure(answer.candidates[1].failure, 150).startswith("100 % errors")
    assert answer.candidates[1].failure.mostly == "status 500"


def test_a_candidate_that_is_not_what_it_is_called_is_not_measured(tmp_path: Path, generators: GeneratorProcess) -> None:
    made = plan((replace(TWO[0], expect={"worker_class": "gevent"}),))

    with pytest.raises(ServerError, match="worker_class is 'planted', expected 'gevent'"):
        measure(tmp_path / "run", PlantedServers(), made, generators)


def test_the_generator_is_calibrated_before_anything_else(generators: GeneratorProcess) -> None:
    servers = PlantedServers()
    try:
        entries = calibrate(Bench(plan(TWO), {"quick": servers.start(TWO[0])}, generators), print, rates=(100.0, 500.0))
    finally:
        servers.close()

    assert [entry.rate_per_s for entry in entries] == [100, 500]
    assert 0 < entries[0].p50_ms <= entries[0].p99_ms


def test_a_candidate_that_died_is_no_fault_of_the_one_that_is_measured(generators: GeneratorProcess) -> None:
    servers, made = PlantedServers(), plan(TWO)
    try:
        bench = Bench(made, {one.name: servers.start(one) for one in TWO}, generators)
        dead = servers.running[1].process
        assert dead
        dead.kill()
        dead.wait()
        bench.introduce(made.workloads[0], "quick")

        assert bench.slice(Place(made.workloads[0], "quick", 0, 0, 1, calm=False), 20.0).candidate == "quick"
        with pytest.raises(ServerError, match="slow: its processes have ended"):
            bench.slice(Place(made.workloads[0], "slow", 0, 0, 1, calm=False), 20.0)
    finally:
        servers.close()
