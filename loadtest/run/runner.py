"""Run a plan: blocks in order, each cell measured, saved, and repeated once when it is not believed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from loadtest.generation import GeneratorError, Generators
from loadtest.knee import Outcome, knee_of
from loadtest.order import Order, StepOrder
from loadtest.recorder import ALL
from loadtest.records import Calibration, Cell, Manifest, Workload
from loadtest.run.cells import Bench, measure_cell
from loadtest.run.plan import Place, places, seconds
from loadtest.run.servers import Servers
from loadtest.store import Store

ATTEMPTS = 2
# Around the knee of earlier blocks: below it, so that the first step holds and the search goes up.
RESTART_SHARE = 0.85
CALIBRATION_RATES = (100.0, 500.0, 2000.0)
CALIBRATION_S = 2.0

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
    plan = list(places(bench.manifest, bench.profile))
    cells = {_key(cell): cell for cell in sorted(store.cells(), key=lambda cell: cell.attempt)}
    for number, place in enumerate(plan):
        left_s = sum(seconds(bench.manifest, bench.profile, later) for later in plan[number:])
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
    rates = common_rates(bench.manifest, place.workload, before) if place.kind == "rates" else None
    start = known_knee(bench.manifest, place, before)
    while True:
        cell = measure_cell(bench, place, rates, start and start * RESTART_SHARE, attempt)
        store.save(cell)
        if not cell.invalid:
            return cell
        again = "measured again" if attempt < ATTEMPTS else "left out"
        say(f"INVALID, {again}: {place.workload.name}, {place.candidate.name}, {place.kind}: {'; '.join(cell.invalid)}")
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
    if cell.workload != workload.name or cell.kind != "knee":
        return None
    return knee_of((Outcome(step, workload) for step in cell.steps), manifest.limits)


def _key(cell: Cell) -> tuple[str, str, int, str]:
    return cell.workload, cell.candidate, cell.block, cell.kind


def calibrate(servers: Servers, manifest: Manifest, processes: int, say: Say) -> tuple[Calibration, ...]:
    """Measure the generator itself, against the gateway's own answer: what it shows there, no server can be blamed for."""
    with servers.start(manifest.candidates[0]) as server:
        if server.null_url is None:
            say("The gateway has no answer of its own here: what the generator adds is not known.")
            return ()
        order = Order(url=server.null_url, mix=(("", "Null", 1.0),), cpus=tuple(servers.cpus))
        with Generators(order, processes) as generators:
            return tuple(_calibration(generators, rate) for rate in CALIBRATION_RATES)


def _calibration(generators: Generators, rate_per_s: float) -> Calibration:
    seen = generators.step(StepOrder(rate_per_s=rate_per_s, warm_up_s=0.5, warm_up_at_most_s=1.5, window_s=0.25, measure_s=CALIBRATION_S))
    latency = seen.recording.series[ALL].latency
    if not latency.count:
        raise GeneratorError(f"the gateway's own answer failed: {', '.join(seen.recording.errors)}")
    p50_ms, p99_ms = latency.quantiles_ms((0.5, 0.99))
    return Calibration(
        rate_per_s=rate_per_s,
        p50_ms=p50_ms,
        p99_ms=p99_ms,
        slip_p99_ms=seen.recording.slip.quantile_ms(0.99),
        generator_cpu_share=seen.cpu_share,
        achieved_share=latency.count / max(seen.recording.offered, 1),
    )
