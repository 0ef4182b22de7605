"""A whole run: blocks of fresh processes, in each of them rounds, in each round a slice of every pair that is still undecided."""

import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from loadtest.judge.answers import undecided
from loadtest.judge.knee import calm_rate, next_rate
from loadtest.judge.slices import JudgedSlice, calm_below
from loadtest.judge.validity import fewest_due
from loadtest.measure.generation import GeneratorError, GeneratorProcess
from loadtest.measure.order import Order, StepOrder
from loadtest.measure.servers import Server, ServerError
from loadtest.measure.slicing import Bench, Place
from loadtest.records.model import Calibration, Candidate, Pace
from loadtest.records.slices import Loss, Start
from loadtest.records.store import Store

# The last is what one process must be able to make: a figure for this machine, in every report.
CALIBRATION_RATES = (500.0, 2000.0, 5000.0)
CALIBRATION_S = 2.5  # a p99 needs a thousand requests

Say = Callable[[str], None]
Pair = tuple[str, str]  # candidate, workload


@dataclass(frozen=True)
class Progress:
    """How far a run is. `undecided`: of the `pairs` of candidate and workload those that still get slices. `left_s`: at most."""

    block: int
    round: int
    slices: int
    invalid: int
    undecided: int
    pairs: int
    left_s: float


class Run:
    def __init__(self, bench: Bench, store: Store, say: Say, on_progress: Callable[[Progress], None]) -> None:
        self._bench, self._store, self._say, self._tell = bench, store, say, on_progress
        self._manifest = bench.manifest
        self._works = {work.name: work for work in self._manifest.workloads}
        self._open: set[Pair] = {(name, work) for name in bench.servers for work in self._works}
        self._pairs = len(self._open)
        self._slices: dict[Pair, list[JudgedSlice]] = defaultdict(list)
        self._guesses: dict[Pair, float] = {}

    def measure(self) -> None:
        """Measure until every pair is decided or the time is over. Raises ServerError before the first slice, and GeneratorError."""
        pace, lasted_s = self._manifest.pace, 0.0
        for block in range(pace.blocks):
            began_s = self._bench.at_s
            if not self._open or began_s + lasted_s > pace.minutes * 60:
                return
            chance = random.Random(f"{self._manifest.seed} {block}")  # noqa: S311 - an order that can be repeated
            self._begin(block, chance)
            calm = chance.sample(range(1, pace.rounds), round(pace.rounds / 3))
            for number in range(block * pace.rounds, (block + 1) * pace.rounds):
                for pair, calm_per_s in list(self._order(chance, calm=number % pace.rounds in calm)):
                    self._visit(pair, block, number, calm_per_s)
                self._report(block, number)
            self._open &= undecided(self._manifest, [one for own in self._slices.values() for one in own])
            lasted_s = self._bench.at_s - began_s

    def _order(self, chance: random.Random, *, calm: bool) -> Iterator[tuple[Pair, float | None]]:
        """Yield the pairs of a round, workload by workload: what is compared are neighbours in time. With the rate if it is calm."""
        for work in chance.sample(list(self._works), len(self._works)):
            group = sorted(pair for pair in self._open if pair[1] == work)
            seen = [self._slices[pair] for pair in group]
            calm_per_s = calm_rate(seen) if calm and group else None
            yield from ((pair, calm_per_s) for pair in chance.sample(group, len(group)))

    def _begin(self, block: int, chance: random.Random) -> None:
        """Give every candidate fresh processes, proved and warm."""
        servers = self._bench.servers
        with ThreadPoolExecutor() as pool:
            starts = {name: pool.submit(_renew, server) for name, server in servers.items() if block}
        for candidate in self._manifest.candidates:
            if server := servers.get(candidate.name):
                try:
                    start_s = starts[candidate.name].result() if block else None
                    self._prove(candidate, server, block, start_s, chance)
                except ServerError as error:
                    if not block:  # nothing is measured yet, and what is wrong can be put right
                        raise
                    self._lose(candidate.name, block, error)

    def _prove(self, candidate: Candidate, server: Server, block: int, start_s: float | None, chance: random.Random) -> None:
        proof = server.proof()
        for name, expected in candidate.expect.items():
            # An application that is not ours says nothing of itself: the class is known from the log, the rest is not.
            if (name in proof or name == "worker_class") and proof.get(name) != expected:
                raise ServerError(
                    f"{candidate.name} is not what it is called: {name} is {proof.get(name)!r}, expected {expected!r}",
                    "look at its settings in candidates.toml",
                )
        for work in chance.sample(list(self._works.values()), len(self._works)):
            pair = candidate.name, work.name
            if pair in self._open:
                self._bench.introduce(work, candidate.name)
                found_per_s = self._bench.probe(work, candidate.name, short=pair in self._guesses)
                self._guesses.setdefault(pair, found_per_s)
        held, at_s = server.memory_bytes(), self._bench.at_s
        self._store.add(Start(candidate=candidate.name, block=block, at_s=at_s, start_s=start_s, proof=proof, memory_bytes=held))

    def _visit(self, pair: Pair, block: int, number: int, calm_per_s: float | None) -> None:
        name, work = pair
        if pair not in self._open:  # it was lost in this round
            return
        workload, own = self._works[work], self._slices[pair]
        chance = random.Random(f"{self._manifest.seed} {block} {number} {work}")  # noqa: S311 - the same for all candidates of a round
        seed = chance.getrandbits(32)
        rate_per_s = calm_per_s or next_rate(own, chance, self._guesses[pair], workload.max_rate_per_s)
        try:
            seen = self._bench.slice(Place(workload, name, block, number, seed, calm_per_s is not None), rate_per_s)
        except ServerError as error:
            self._lose(name, block, error)
            return
        self._store.add(seen)
        own.append(JudgedSlice(seen, workload, self._manifest.limits, calm_below(own)))

    def _lose(self, name: str, block: int, error: ServerError) -> None:
        """Let the others go on without a candidate."""
        self._say(f"{error.message}. The others go on without it.")
        self._store.add(Loss(candidate=name, block=block, at_s=self._bench.at_s, reason=error.message))
        self._open = {pair for pair in self._open if pair[0] != name}
        with suppress(ServerError):
            self._bench.servers.pop(name).stop()

    def _report(self, block: int, number: int) -> None:
        slices = [one for own in self._slices.values() for one in own]
        invalid = sum(bool(one.problems) for one in slices)
        left_s = max(self._manifest.pace.minutes * 60 - self._bench.at_s, 0.0)
        self._tell(Progress(block, number, len(slices), invalid, len(self._open), self._pairs, left_s))


def _renew(server: Server) -> float:
    began_s = time.monotonic()
    server.renew()
    return time.monotonic() - began_s


def calibrate(bench: Bench, say: Say, rates: Sequence[float] = CALIBRATION_RATES) -> tuple[Calibration, ...]:
    """Measure the generator itself, against the gateway's own answer: what it shows there, no server can be blamed for."""
    url = next(iter(bench.servers.values())).null_url
    if url is None:
        say("The gateway has no answer of its own here: what the generator adds is not known.")
        return ()
    bench.generator.visit(Order(url, (("", "Null", 1.0),), (), bench.cpus, "null"))
    entries: list[Calibration] = []
    for rate in rates:
        entry = _calibration(bench.generator, rate, bench.manifest.pace)
        if entry is None:
            say(f"The generator cannot make {rate:g} requests/s here.")
            break
        entries.append(entry)
    return tuple(entries)


def _calibration(generator: GeneratorProcess, rate_per_s: float, pace: Pace) -> Calibration | None:
    order = StepOrder(name="null", rate_per_s=rate_per_s, warm_up_s=pace.warm_up_s, measure_s=CALIBRATION_S)
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
        requests=latency.count,
        p50_ms=p50_ms,
        p99_ms=p99_ms,
        slip_p99_ms=seen.recording.slip.quantile_ms(0.99),
        generator_cpu_share=seen.cpu_share,
        achieved_share=latency.count / max(seen.recording.offered, due),
    )
