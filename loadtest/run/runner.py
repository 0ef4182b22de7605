"""Run a plan: blocks in order, each cell measured, saved, and repeated once when it is not believed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from loadtest.generation import GeneratorError, Generators
from loadtest.knee import Outcome, knee_of
from loadtest.order import Order, StepOrder
from loadtest.recorder import ALL
from loadtest.records import Calibration, Cell, Manifest, Pace, Workload
from loadtest.report.words import reasons
from loadtest.run.cells import WINDOW_S, Bench, Known, measure_cell
from loadtest.run.gates import fewest_due
from loadtest.run.plan import Place, places, seconds
from loadtest.run.servers import Servers
from loadtest.store import Store

ATTEMPTS = 2
# The last is what one process must be able to make: a figure for this machine, in every report.
CALIBRATION_RATES = (100.0, 500.0, 2000.0, 5000.0)

Say = Callable[[str], None]


@dataclass(frozen=True)
class Progress:
    """How far a run is. `left_s`: time that the rest will take, about."""

    done: int
    total: int
    left_s: float
    doing: str


def run(bench: Bench, store: Store, on_progress: Callable[[Progress], None], say: Say) -> None:
    """Measure what is missing of a plan. Raises ServerError and GeneratorError; what was measured is kept."""
    plan = list(places(bench.manifest))
    cells = {_key(cell): cell for cell in sorted(store.cells(), key=lambda cell: cell.attempt)}
    for number, place in enumerate(plan):
        left_s = sum(seconds(bench.manifest, later) for later in plan[number:])
        doing = f"block {place.block + 1} of {bench.manifest.blocks}: {place.workload.name}, {place.candidate.name}, {place.kind}"
        on_progress(Progress(number, len(plan), left_s, doing))
        key = (place.workload.name, place.candidate.name, place.block, place.kind)
        if place.kind == "rates" and not common_rates(bench.manifest, place.workload, cells.values()):
            continue  # no candidate has a knee: there is nothing to compare at
        if key not in cells or (cells[key].invalid and cells[key].attempt < ATTEMPTS):
            attempt = cells[key].attempt + 1 if key in cells else 1
            cells[key] = _measure(bench, store, place, list(cells.values()), attempt=attempt, say=say)
    on_progress(Progress(len(plan), len(plan), 0.0, "done"))


def _measure(bench: Bench, store: Store, place: Place, before: list[Cell], *, attempt: int, say: Say) -> Cell:
    known = Known(known_knee(bench.manifest, place, before), common_rates(bench.manifest, place.workload, before))
    while True:
        cell = measure_cell(bench, place, known, attempt)
        store.save(cell)
        if not cell.invalid:
            return cell
        again = "measured again" if attempt < ATTEMPTS else "left out"
        say(f"INVALID, {again}: {place.workload.name}, {place.candidate.name}, {place.kind}: {reasons(cell.invalid)}")
        if attempt >= ATTEMPTS:
            return cell
        attempt += 1


def common_rates(manifest: Manifest, workload: Workload, cells: Iterable[Cell]) -> dict[float, float]:
    """Return share -> rate (per second) for all candidates: shares of the weakest knee of the first block; empty without one.

    A candidate that holds the objective at no rate does not count as the weakest: the others would be compared at nothing.
    """
    knees = [knee for cell in cells if cell.block == 0 and (knee := _knee(manifest, workload, cell))]
    return {load: max(min(knees) * load, 1.0) for load in manifest.rates} if knees else {}


def known_knee(manifest: Manifest, place: Place, cells: Iterable[Cell]) -> float | None:
    """Return the knee that this candidate had in the latest block before; None when it had none."""
    earlier = sorted((c for c in cells if c.candidate == place.candidate.name and c.block < place.block), key=lambda c: -c.block)
    return next((knee for cell in earlier if (knee := _knee(manifest, place.workload, cell))), None)


def _knee(manifest: Manifest, workload: Workload, cell: Cell) -> float | None:
    if cell.workload != workload.name or cell.kind != "knee" or cell.invalid:
        return None
    return knee_of((Outcome(step, workload) for step in cell.steps), manifest.limits)


def _key(cell: Cell) -> tuple[str, str, int, str]:
    return cell.workload, cell.candidate, cell.block, cell.kind


def calibrate(
    servers: Servers, manifest: Manifest, generators: Generators, say: Say, rates: Sequence[float] = CALIBRATION_RATES
) -> tuple[Calibration, ...]:
    """Measure the generator itself, against the gateway's own answer: what it shows there, no server can be blamed for."""
    with servers.start(manifest.candidates[0]) as server:
        if server.null_url is None:
            say("The gateway has no answer of its own here: what the generator adds is not known.")
            return ()
        generators.visit(Order(url=server.null_url, mix=(("", "Null", 1.0),), cpus=tuple(servers.cpus)))
        entries: list[Calibration] = []
        for rate in rates:
            entry = _calibration(generators, rate, manifest.pace)
            if entry is None:
                say(f"The generator cannot make {rate:g} requests/s here.")
                break
            entries.append(entry)
        return tuple(entries)


def _calibration(generators: Generators, rate_per_s: float, pace: Pace) -> Calibration | None:
    order = StepOrder(
        rate_per_s=rate_per_s,
        warm_up_s=pace.warm_up_s,
        warm_up_at_most_s=pace.warm_up_at_most_s,
        window_s=min(WINDOW_S, pace.between_s),
        measure_s=pace.step_s,
    )
    seen = generators.step(order)
    latency = seen.recording.series[ALL].latency
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
