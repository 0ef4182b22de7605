"""Whole runs against servers whose truth is planted: what is measured, kept, repeated, and never believed."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from loadtest.judge.answers import answer_run
from loadtest.judge.gates import Gate
from loadtest.judge.steps import judge_cells
from loadtest.measure.generation import GeneratorProcess
from loadtest.measure.runner import calibrate
from loadtest.measure.search import Bounds, search
from loadtest.measure.servers import ServerError
from loadtest.plan import PROFILES, START_S, minutes, order_of
from loadtest.records.model import Limits
from loadtest.records.store import Store
from loadtest.report import make_report
from loadtest.report.words import failure, plan as describe
from tests.loadtest.planted import TOLERANT, PlantedServers, candidate, measure, plan, workload
from tests.loadtest.synthetic import manifest

TWO = (candidate("quick", 4), candidate("slow", 20))


def test_a_run_measures_all_places_and_judges_them(tmp_path: Path, generators: GeneratorProcess) -> None:
    made = plan(TWO, blocks=3)
    servers = PlantedServers()
    store, progress, told = measure(tmp_path / "run", servers, made, generators)
    answer = answer_run(store.manifest(), store.cells()).answers[0]
    quick, slow = answer.candidates

    assert told == []
    assert len(servers.starts) == len(store.cells()) == 2 * (3 + 1)  # three knees and one set of common rates each
    assert progress[-1].done == progress[-1].total == 8
    assert all(q > s for q, s in zip(quick.knees_per_s.values(), slow.knees_per_s.values(), strict=True))
    assert slow.knees_per_s[0] <= 1000 / 20 * 1.3  # no more than it can do
    assert [rate.load for rate in quick.rates] == [0.5, 1.2]
    assert quick.rates[0].rate_per_s == slow.rates[0].rate_per_s
    assert quick.rates[0].memory_mib
    assert all(path.is_file() for path in make_report(store))


def test_an_interrupted_run_keeps_what_it_has_and_goes_on(tmp_path: Path, generators: GeneratorProcess) -> None:
    made = plan(TWO)

    def interrupt(number: int) -> None:
        if number == 3:
            raise KeyboardInterrupt

    first = PlantedServers(before=interrupt)
    with pytest.raises(KeyboardInterrupt):
        measure(tmp_path / "run", first, made, generators)
    kept = Store(tmp_path / "run").cells()
    second = PlantedServers()
    store, _, _ = measure(tmp_path / "run", second, made, generators)

    assert len(kept) == 2
    assert answer_run(made, kept).missing == 0  # both knees are there, the common rates are not
    assert len(second.starts) == 2
    assert [cell for cell in store.cells() if cell.kind == "knee"] == kept
    assert {cell.kind for cell in store.cells()} == {"knee", "rates"}


def test_a_server_that_goes_away_ends_the_run_and_keeps_what_was_measured(tmp_path: Path, generators: GeneratorProcess) -> None:
    made = plan(TWO)

    def fail(number: int) -> None:
        if number == 2:
            raise ServerError("the engine does not answer")

    with pytest.raises(ServerError, match="the engine does not answer"):
        measure(tmp_path / "run", PlantedServers(before=fail), made, generators)

    assert len(Store(tmp_path / "run").cells()) == 1


def test_a_slow_generator_is_invalid_every_time(tmp_path: Path, generators: GeneratorProcess) -> None:
    made = plan(TWO[:1], workload("SlowGenerator", slo_ms=100.0))
    limits = replace(TOLERANT, slip_share_of_slo=Limits().slip_share_of_slo, generator_cpu_share=Limits().generator_cpu_share)
    store, _, told = measure(tmp_path / "run", PlantedServers(), replace(made, limits=limits), generators)
    cells = store.cells()

    assert [(cell.kind, cell.attempt) for cell in cells] == [("knee", 1), ("knee", 2)]  # repeated once, and no rate to go on with
    assert all(one.invalid for one in judge_cells(store.manifest(), cells))
    assert [again for _, again in told] == [True, False]
    assert {problem.gate for one, _ in told for problem in one.invalid} & {Gate.GENERATOR_LATE, Gate.GENERATOR_CPU}
    assert answer_run(made, cells).answers[0].recommended is None


def test_a_server_that_answers_errors_fast_is_never_recommended(tmp_path: Path, generators: GeneratorProcess) -> None:
    made = plan((candidate("honest", 10), candidate("liar", 0, ERRORS="1")), blocks=3)
    store, _, _ = measure(tmp_path / "run", PlantedServers(), made, generators)
    answer = answer_run(made, store.cells()).answers[0]

    assert answer.recommended == "honest"
    assert answer.candidates[1].failure
    assert failure(answer.candidates[1].failure, 400).startswith("100 % errors")
    assert answer.candidates[1].failure.mostly == "status 500"


def test_a_candidate_that_is_not_what_it_is_called_is_not_measured(tmp_path: Path, generators: GeneratorProcess) -> None:
    made = plan((replace(TWO[0], expect={"worker_class": "gevent"}),))

    with pytest.raises(ServerError, match="worker_class is 'planted', expected 'gevent'"):
        measure(tmp_path / "run", PlantedServers(), made, generators)


def test_the_generator_is_calibrated_before_anything_else(generators: GeneratorProcess) -> None:
    entries = calibrate(PlantedServers(), plan(TWO), generators, print, rates=(100.0, 500.0))

    assert [entry.rate_per_s for entry in entries] == [100, 500]
    assert 0 < entries[0].p50_ms <= entries[0].p99_ms


def test_the_plan_says_what_it_costs_and_what_it_sees() -> None:
    made = plan(TWO, blocks=4)
    text = "\n".join(describe(made))

    assert re.search(r"about \d+ minutes", text)
    assert "differences of" in text
    assert "verdict    none" in "\n".join(describe(plan(TWO, blocks=2)))


@pytest.mark.parametrize("under", START_S)
@pytest.mark.parametrize(("name", "at_most"), [("smoke", 4), ("quick", 20)])
def test_a_profile_is_planned_for_the_time_that_is_promised(name: str, at_most: int, under: str) -> None:
    """With the four candidates that are compared by default; what really passes also depends on how many runs are repeated."""
    profile = PROFILES[name]
    made = manifest(("sync", "gthread", "gevent", "tornado"), profile.workloads, pace=profile.pace)
    order = order_of(made.seed, profile.blocks, made.candidates)

    assert minutes(replace(made, order=order, machine=replace(made.machine, runtime=under))) < at_most


@pytest.mark.parametrize(("knee", "start"), [(100.0, 70.0), (100.0, 1000.0), (5.0, 700.0), (0.0, 50.0), (10_000.0, 700.0)])
def test_the_search_closes_in_on_the_knee(knee: float, start: float) -> None:
    seen: list[float] = []

    def holds(rate: float) -> bool:
        seen.append(rate)
        return rate <= knee

    search(holds, Bounds(start, 4000, steps=12, most_steps=12))
    held, failed = [rate for rate in seen if rate <= knee], [rate for rate in seen if rate > knee]

    assert len(seen) <= 12
    if 1 < knee < 4000:
        assert min(failed) / max(held) <= 1.1
    elif knee:
        assert max(held) == 4000
    else:
        assert min(failed) == 1
