"""The comparison on trial: `make trial`, long form. Servers whose truth is planted go through the whole harness.

    python -m tests.loadtest.trial --runs 20

Each run is a complete comparison: fresh servers for each cell, search for the knee, judge. What the statistics promise is
counted over the runs and held against the promise; exit code 1 when a count could hardly come about if it were kept.
The short form, in tests/loadtest/test_runner.py, is part of every CI run.
"""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click

from loadtest.judge.answers import Answer, answer_run
from loadtest.judge.inference import CONFIDENCE, POWER, Comparison, smallest_difference
from loadtest.judge.steps import judge_cells
from loadtest.measure.generation import GeneratorProcess
from loadtest.records.model import Candidate, Limits, Manifest
from loadtest.records.store import Store
from loadtest.report.words import sentence
from tests.loadtest.planted import TOLERANT, PlantedServers, candidate, measure, plan, workload

BLOCKS = 5
WORK_MS = 8.0
# A count that a kept promise gives less often than this is called a broken promise.
UNLIKELY = 0.01
# The generator's own gates are on: what it could not do itself is not the servers' doing.
LIMITS = replace(TOLERANT, slip_share_of_slo=Limits().slip_share_of_slo, generator_cpu_share=Limits().generator_cpu_share)


def compare(candidates: list[Candidate], seed: int, user: str = "Visitor") -> tuple[Manifest, Store]:
    """Run one comparison in a folder that goes away, and return what it left."""
    made = replace(plan(candidates, workload(user, slo_ms=200.0), BLOCKS), seed=seed, limits=LIMITS)
    folder = Path(tempfile.mkdtemp(prefix="loadtest-trial-")) / "run"
    with GeneratorProcess() as generators:
        store, _, _ = measure(folder, PlantedServers(), made, generators)
    return made, store


def answers(candidates: list[Candidate], runs: int) -> Iterator[Answer]:
    """Yield the answer of each run; its progress goes to stderr."""
    for seed in range(runs):
        made, store = compare(candidates, seed)
        answer = answer_run(made, store.cells()).answers[0]
        click.echo(f"  run {seed + 1} of {runs}: {sentence(made, answer)}", err=True)
        yield answer


def binomial_tail(count: int, runs: int, chance: float) -> float:
    """Return how likely `count` or more of `runs` are."""
    return sum(math.comb(runs, k) * chance**k * (1 - chance) ** (runs - k) for k in range(count, runs + 1))


def equal(runs: int) -> bool:
    """A against A: a difference may be called in 5 of 100 runs."""
    twins = [candidate("first", WORK_MS), candidate("second", WORK_MS)]
    called = sum(pair.comparison in {Comparison.HIGHER, Comparison.LOWER} for answer in answers(twins, runs) for pair in answer.pairs)
    kept = binomial_tail(called, runs, 1 - CONFIDENCE) > UNLIKELY
    return tell("A against A", f"a difference was called in {called} of {runs} runs; promised: {1 - CONFIDENCE:.0%}", kept=kept)


def slower(share: float, runs: int) -> bool:
    """B is slower by a known share: it is found as often as the runs' own spread promises, and never taken for faster."""
    pair = [candidate("first", WORK_MS), candidate("slower", WORK_MS / (1 - share))]
    seen = list(answers(pair, runs))
    found = sum(one.comparison is Comparison.LOWER for answer in seen for one in answer.pairs)
    wrong = sum(one.comparison is Comparison.HIGHER for answer in seen for one in answer.pairs)
    # In terms of the faster one's knee, as the judge has it: 30 % less is a ratio of 1/0.7 seen from the other side.
    visible = [answer.sees is not None and answer.sees <= 1 / (1 - share) - 1 for answer in seen]
    promised = POWER if all(visible) else 0.0
    kept = not wrong and binomial_tail(runs - found, runs, 1 - promised) > UNLIKELY
    text = f"found in {found} of {runs} runs, called faster in {wrong}; promised: {promised:.0%} ({sum(visible)} runs could see it)"
    return tell(f"{share:.0%} slower", text, kept=kept)


def slow_generator() -> bool:
    """A generator that is busy itself: every cell is INVALID."""
    made, store = compare([candidate("first", WORK_MS)], seed=1, user="SlowGenerator")
    cells = store.cells()
    invalid = sum(bool(one.invalid) for one in judge_cells(made, cells))
    return tell("slow generator", f"{invalid} of {len(cells)} cells are INVALID; promised: all", kept=invalid == len(cells) > 0)


def fast_errors() -> bool:
    """A server that answers errors at once never wins."""
    made, store = compare([candidate("honest", WORK_MS), candidate("liar", 0, ERRORS="1")], seed=1)
    answer = answer_run(made, store.cells()).answers[0]
    return tell("fast errors", sentence(made, answer), kept=answer.recommended == "honest" and bool(answer.candidates[1].failure))


def tell(case: str, text: str, *, kept: bool) -> bool:
    """Print one line of the table."""
    click.echo(f"{'ok    ' if kept else 'BROKEN'}  {case:15} {text}")
    return kept


@click.command()
@click.option("--runs", default=10, show_default=True, type=click.IntRange(min=1), help="Comparisons for each of the first three cases.")
def main(runs: int) -> None:
    """Try the comparison on planted cases; about a minute for each run."""
    sees = smallest_difference(0.03, BLOCKS, margin=0.05)
    click.echo(f"{BLOCKS} blocks; where runs spread by 3 %, differences of {sees:.0%} are found with the promised power of {POWER:.0%}")
    kept = [equal(runs), slower(0.1, runs), slower(0.3, runs), slow_generator(), fast_errors()]
    sys.exit(0 if all(kept) else 1)


if __name__ == "__main__":
    main()
