"""Run a plan: blocks in order, each cell measured, saved, and measured once more when the judge does not believe it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loadtest.judge.answers import latest
from loadtest.judge.gates import fewest_due
from loadtest.judge.steps import JudgedCell, judge_cells
from loadtest.measure.generation import GeneratorError, GeneratorProcess
from loadtest.measure.order import Order, StepOrder
from loadtest.measure.servers import Servers
from loadtest.measure.trial import WINDOW_S, Bench, Known, measure_cell
from loadtest.plan import Place, places, seconds
from loadtest.records.model import Calibration, Manifest, Pace
from loadtest.records.store import Store

ATTEMPTS = 2
# The last is what one process must be able to make: a figure for this machine, in every report.
CALIBRATION_RATES = (100.0, 500.0, 2000.0, 5000.0)

Say = Callable[[str], None]
OnInvalid = Callable[[JudgedCell, bool], None]  # the second: it is measured again


@dataclass(frozen=True)
class Progress:
    """How far a run is. `left_s`: time that the rest will take, about."""

    done: int
    total: int
    left_s: float
    doing: str


def run(bench: Bench, store: Store, on_progress: Callable[[Progress], None], on_invalid: OnInvalid) -> None:
    """Measure what is missing of a plan. Raises ServerError and GeneratorError; what was measured is kept."""
    plan = list(places(bench.manifest))
    cells = latest(judge_cells(bench.manifest, store.cells()))
    for number, place in enumerate(plan):
        left_s = sum(seconds(bench.manifest, later) for later in plan[number:])
        doing = f"block {place.block + 1} of {bench.manifest.blocks}: {place.workload.name}, {place.candidate.name}, {place.kind}"
        on_progress(Progress(number, len(plan), left_s, doing))
        key = (place.workload.name, place.candidate.name, place.block, place.kind)
        known = _known(bench.manifest, place, [one for one in cells.values() if one.cell.workload == place.workload.name])
        if place.kind == "rates" and not known.rates:
            continue  # no candidate has a knee: there is nothing to compare at
        while key not in cells or (cells[key].invalid and cells[key].cell.attempt < ATTEMPTS):
            cell = measure_cell(bench, place, known, cells[key].cell.attempt + 1 if key in cells else 1)
            store.save(cell)
            (cells[key],) = judge_cells(bench.manifest, [cell])
            if cells[key].invalid:
                on_invalid(cells[key], cell.attempt < ATTEMPTS)
    on_progress(Progress(len(plan), len(plan), 0.0, "done"))


def _known(manifest: Manifest, place: Place, cells: Sequence[JudgedCell]) -> Known:
    """Return the knee that this candidate had in the latest block before, and the rates at which all are compared.

    These are shares of the weakest knee of the first block. A candidate that holds the objective at no rate does not count as
    the weakest: the others would be compared at nothing.
    """
    weakest = min((one.knee_per_s for one in cells if one.cell.block == 0 and one.knee_per_s), default=None)
    rates = {load: max(weakest * load, 1.0) for load in manifest.rates} if weakest else {}
    earlier = [one for one in cells if one.cell.candidate == place.candidate.name and one.cell.block < place.block and one.knee_per_s]
    return Known(max(earlier, key=lambda one: one.cell.block).knee_per_s if earlier else None, rates)


def calibrate(
    servers: Servers, manifest: Manifest, generator: GeneratorProcess, say: Say, rates: Sequence[float] = CALIBRATION_RATES
) -> tuple[Calibration, ...]:
    """Measure the generator itself, against the gateway's own answer: what it shows there, no server can be blamed for."""
    with servers.start(manifest.candidates[0]) as server:
        if server.null_url is None:
            say("The gateway has no answer of its own here: what the generator adds is not known.")
            return ()
        generator.visit(Order(url=server.null_url, mix=(("", "Null", 1.0),), cpus=tuple(servers.cpus)))
        entries: list[Calibration] = []
        for rate in rates:
            entry = _calibration(generator, rate, manifest.pace)
            if entry is None:
                say(f"The generator cannot make {rate:g} requests/s here.")
                break
            entries.append(entry)
        return tuple(entries)


def _calibration(generator: GeneratorProcess, rate_per_s: float, pace: Pace) -> Calibration | None:
    order = StepOrder(
        rate_per_s=rate_per_s,
        warm_up_s=pace.warm_up_s,
        warm_up_at_most_s=pace.warm_up_at_most_s,
        window_s=min(WINDOW_S, pace.between_s),
        measure_s=pace.step_s,
    )
    seen = generator.step(order)
    latency = seen.recording.all.latency
    if not latency.count and seen.recording.errors:
        raise GeneratorError(f"the gateway's own answer failed: {', '.join(seen.recording.errors)}")
    if not latency.count:
        return None
    p50_ms, p99_ms = latency.quantiles_ms((0.5, 0.99))
    due = fewest_due(order.rate_per_s * order.measure_s)
    return Calibration(
        rate_per_s=rate_per_s,
        p50_ms=p50_ms,
        p99_ms=p99_ms,
        slip_p99_ms=seen.recording.slip.quantile_ms(0.99),
        generator_cpu_share=seen.cpu_share,
        achieved_share=latency.count / max(seen.recording.offered, due),
    )
