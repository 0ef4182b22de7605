"""The comparison on trial: `make trial`, long form. Servers whose truth is planted go through the whole harness.

    python -m tests.loadtest.trial --runs 20 --only waiting

Each run is a complete comparison: fresh processes for each block, slices in turn, judge. What the statistics promise is counted over the
runs and held against the promise; exit code 1 when a count could hardly come about if it were kept. The short form, in
tests/loadtest/test_trial.py, is part of every CI run.
"""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click

from loadtest.judge.answers import Answer, Pair, RunAnswers, answer_run
from loadtest.judge.inference import CONFIDENCE, Comparison
from loadtest.judge.plausibility import NoteKind
from loadtest.judge.validity import Gate
from loadtest.measure.generation import GeneratorProcess
from loadtest.records.model import Candidate, Limits
from tests.loadtest.planted import PACE, TOLERANT, PlantedServers, candidate, measure, plan, workload

# A count that a kept promise gives less often than this is called a broken promise.
UNLIKELY = 0.01
# The generator's own gates are on, and that of the candidates that should be idle: what these do is not the servers' doing.
LIMITS = replace(
    TOLERANT,
    slip_share_of_slo=Limits().slip_share_of_slo,
    generator_cpu_share=Limits().generator_cpu_share,
    idle_cpu_share=Limits().idle_cpu_share,
)
SLO_MS = 100.0


@dataclass(frozen=True)
class Case:
    """A truth that is planted, and how often a run has to say so. `right` counts a run; `wrong` must never be said."""

    planted: tuple[Candidate, ...]
    promised: float
    right: Callable[[RunAnswers], bool]
    wrong: Callable[[RunAnswers], bool] = lambda _: False
    user: str = "Visitor"
    computes: bool = False


def waiting(name: str, work_ms: float = 4.0, **settings: str) -> Candidate:
    return candidate(name, work_ms, **settings)


def computing(name: str, cpu_ms: float = 4.0) -> Candidate:
    return candidate(name, 0, CPU_MS=str(cpu_ms))


def pair(seen: RunAnswers) -> Pair:
    return seen.answers[0].pairs[0]


def answer(seen: RunAnswers) -> Answer:
    return seen.answers[0]


def called(*verdicts: Comparison) -> Callable[[RunAnswers], bool]:
    """Return whether the second server was given one of these verdicts against the first."""
    return lambda seen: pair(seen).comparison in verdicts


LOWER, HIGHER = called(Comparison.LOWER), called(Comparison.HIGHER)
NO_DIFFERENCE = called(Comparison.TIE, Comparison.UNDECIDED)


def invalid(gate: Gate, seen: RunAnswers) -> bool:
    """Whether every slice of the first server is not believed, for this reason among others."""
    own = [one for one in seen.slices if one.slice.candidate == "first"]
    return bool(own) and all(gate in {problem.gate for problem in one.problems} for one in own)


def generator_found_out(seen: RunAnswers) -> bool:
    """Whether most slices are not believed because of the generator, and nothing is said of the servers."""
    gates = {Gate.GENERATOR_CPU, Gate.GENERATOR_LATE, Gate.GENERATOR_BEHIND}
    found = sum(bool(gates & {problem.gate for problem in one.problems}) for one in seen.slices)
    return found > len(seen.slices) / 2 and NO_DIFFERENCE(seen)


def cases() -> dict[str, Case]:
    """Return all of them by name."""
    found = {
        "equal": Case((waiting("first"), waiting("second")), CONFIDENCE, NO_DIFFERENCE),
        "equal-cpu": Case((computing("first"), computing("second")), CONFIDENCE, NO_DIFFERENCE, computes=True),
    }
    for share, promised in ((0.05, 0.8), (0.1, 0.95), (0.3, 0.95)):
        found[f"waiting-{share:.0%}"] = Case((waiting("first"), waiting("second", 4 / (1 - share))), promised, LOWER, HIGHER)
        slower = (computing("first"), computing("second", 4 / (1 - share)))
        found[f"cpu-{share:.0%}"] = Case(slower, promised, LOWER, HIGHER, computes=True)
    return found | {
        "tail": Case((waiting("first"), waiting("second", TAIL_MS="60")), 0.8, LOWER, HIGHER),
        "tiring": Case(
            (waiting("first"), waiting("second", TIRES_AFTER="450")),
            0.8,
            lambda seen: [(note.kind, note.candidate) for note in answer(seen).notes] == [(NoteKind.TIRING, "second")],
        ),
        "busy-neighbour": Case(
            (waiting("first"), waiting("second", BUSY="0.3")), 1.0, lambda seen: invalid(Gate.IDLE_CANDIDATES, seen), HIGHER
        ),
        "slow-generator": Case((waiting("first"), waiting("second")), 1.0, generator_found_out, user="SlowGenerator"),
        "fast-errors": Case(
            (waiting("first"), waiting("second", 0, ERRORS="1")),
            1.0,
            lambda seen: answer(seen).recommended == "first" and bool(answer(seen).candidates[1].failure),
        ),
    }


def results(case: Case, seeds: Sequence[int], blocks: int, rounds: int = 4, limits: Limits = LIMITS) -> Iterator[RunAnswers]:
    """Yield the answers of one run after the other; their records go away."""
    work = replace(workload(case.user, slo_ms=SLO_MS), computes=case.computes)
    pace = replace(PACE, blocks=blocks, rounds=rounds)
    for seed in seeds:
        made = replace(plan(case.planted, work), seed=seed, limits=limits, pace=pace)
        with tempfile.TemporaryDirectory(prefix="loadtest-trial-") as folder, GeneratorProcess() as generators:
            store, _ = measure(Path(folder) / "run", PlantedServers(), made, generators)
            yield answer_run(made, store.records())


def binomial_tail(count: int, runs: int, chance: float) -> float:
    """Return how likely `count` or more of `runs` are."""
    return sum(math.comb(runs, k) * chance**k * (1 - chance) ** (runs - k) for k in range(count, runs + 1))


def told(seen: RunAnswers) -> str:
    """Say what a run found, in one line."""
    found, cpu = pair(seen), pair(seen).cpu
    ratio = f"{found.interval.ratio:.3f} [{found.interval.low:.3f} to {found.interval.high:.3f}]" if found.interval else "-"
    costs = f", cpu {cpu.interval.ratio:.3f} [{cpu.interval.low:.3f} to {cpu.interval.high:.3f}]" if cpu else ""
    notes = "".join(f", {note.kind.value} ({note.candidate})" for note in answer(seen).notes)
    blocks = len({one.slice.block for one in seen.slices})
    bad = sum(bool(one.problems) for one in seen.slices)
    return f"{found.comparison} by {found.rests_on}, {ratio}{costs}, {blocks} blocks, {bad} of {len(seen.slices)} slices invalid{notes}"


def kept(name: str, case: Case, runs: int, first_seed: int, blocks: int) -> bool:
    """Run a case, print its line of the table, and return whether its promise could be kept."""
    right = wrong = 0
    for number, seen in enumerate(results(case, range(first_seed, first_seed + runs), blocks), 1):
        right, wrong = right + case.right(seen), wrong + case.wrong(seen)
        click.echo(f"  {name} {number} of {runs}: {'right' if case.right(seen) else 'not'}: {told(seen)}", err=True)
    holds = not wrong and binomial_tail(runs - right, runs, 1 - case.promised) > UNLIKELY
    click.echo(f"{'ok    ' if holds else 'BROKEN'}  {name:16} right in {right} of {runs}, wrong in {wrong}; promised: {case.promised:.0%}")
    return holds


@click.command()
@click.option("--runs", default=10, show_default=True, type=click.IntRange(min=1), help="Comparisons for each case.")
@click.option("--blocks", default=8, show_default=True, type=click.IntRange(min=3), help="Blocks of each, at most.")
@click.option("--seed", default=0, show_default=True, help="Of the first run.")
@click.option("--only", multiple=True, help="Cases whose name begins so; default: all.")
def main(runs: int, blocks: int, seed: int, only: tuple[str, ...]) -> None:
    """Try the comparison on planted cases; half a minute for each run."""
    chosen = {name: case for name, case in cases().items() if name.startswith(only or "")}
    if not chosen:
        raise click.BadParameter(f"there are {', '.join(cases())}", param_hint="--only")
    promises = [kept(name, case, 1 if case.promised == 1 else runs, seed, blocks) for name, case in chosen.items()]
    sys.exit(0 if all(promises) else 1)


if __name__ == "__main__":
    main()
