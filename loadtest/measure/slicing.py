"""Measure one slice: a second or so of load on one of the candidates, with what every part of the system used meanwhile."""

import os
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace

import psutil

from loadtest.measure.generation import GeneratorProcess
from loadtest.measure.order import LEAD_S, Order, StepOrder
from loadtest.measure.servers import Reading, Server, ServerError
from loadtest.measure.usage import ProcessMeter
from loadtest.records.model import Manifest, Workload
from loadtest.records.slices import Slice, Usage

# So many visitors without a pause find about what a server can do.
PROBE_USERS, PROBE_S, STILL_WARMING = 32, 0.5, 1.15
# Slices last at least so many times the objective: a queue that grows needs time until somebody waits for longer than that.
OBJECTIVES = 5
# A calm one is longer: it has fewer requests a second, and is the only one of its block from which processor time is compared.
CALM_TIMES = 2
# A server may still work on what nobody waits for any more: the next slice waits until all use less of a core than this, or so long.
QUIET_CORES, QUIET_LOOK_S, QUIET_AT_MOST_S = 0.1, 0.02, 3.0


@dataclass(frozen=True)
class Place:
    """Where a slice stands in its run. `seed`: of the arrivals, the same for all candidates of a round; `calm`: so is the rate."""

    workload: Workload
    candidate: str
    block: int
    round: int
    seed: int
    calm: bool


@dataclass(frozen=True)
class _Moment:
    """Counters of the machine and of what is under test."""

    reading: Reading
    generator: Usage
    steal_s: float
    busy_s: float
    idle_ns: int | None
    at_s: float


@dataclass(frozen=True)
class Bench:
    """What all slices of a run share. `servers`: all candidates that still run, by name. `began_s`: of the monotonic clock."""

    manifest: Manifest
    servers: dict[str, Server]
    generator: GeneratorProcess
    cpus: tuple[int, ...] = ()
    began_s: float = field(default_factory=time.monotonic)

    @property
    def at_s(self) -> float:
        return time.monotonic() - self.began_s

    def introduce(self, workload: Workload, candidate: str) -> None:
        """Tell the generator where a candidate is, and who visits it: new visitors, with new connections."""
        order = Order(self.servers[candidate].url, workload.users, workload.background, self.cpus, _name(workload, candidate))
        self.generator.visit(order)

    def probe(self, workload: Workload, candidate: str, *, short: bool) -> float:
        """Warm a candidate up, and return about how much it can do (per second); `short`: that is known.

        Fresh processes do less at first, so it goes on until more is no longer found.
        """
        found, pace, measure_s = 0.0, self.manifest.pace, PROBE_S / 5 if short else PROBE_S
        step = StepOrder(
            name=_name(workload, candidate),
            users=PROBE_USERS,
            warm_up_s=pace.warm_up_s,
            measure_s=measure_s,
            patience_s=_patience_s(workload),
        )
        while (now := self.generator.step(step).recording.all.latency.count / measure_s) > found * STILL_WARMING:
            found = now
            if short:
                break
        return max(found, 1.0)

    def slice(self, place: Place, rate_per_s: float) -> Slice:
        """Measure one. Raises ServerError when the candidate has died, and GeneratorError."""
        self._calm_down()
        pace, server, objective_s = self.manifest.pace, self.servers[place.candidate], place.workload.slo_ms / 1e3
        least_s = max(pace.slice_s * (CALM_TIMES if place.calm else 1), pace.fewest_requests / rate_per_s)
        step = StepOrder(
            name=_name(place.workload, place.candidate),
            rate_per_s=rate_per_s,
            seed=place.seed,
            warm_up_s=pace.settle_s,
            measure_s=max(min(least_s, pace.longest_slice_s), objective_s * OBJECTIVES),
            patience_s=_patience_s(place.workload),
        )
        server.look()
        at_s, moments = self.at_s, []
        seen = self.generator.step(step, lambda _: moments.append(self._moment(place.candidate)))
        first, last = moments
        wall_s = last.at_s - first.at_s
        used = {name: getattr(last.reading, name).since(getattr(first.reading, name)) for name in ("server", "gateway", "rest")}
        here = last.generator.since(first.generator)
        others = _others(last.busy_s - first.busy_s, [*used.values(), here], wall_s)
        used["generator"] = replace(here, cpu_ns=round(seen.cpu_share * step.measure_s * 1e9))  # of the busiest, which may be elsewhere
        return Slice(
            workload=place.workload.name,
            candidate=place.candidate,
            block=place.block,
            round=place.round,
            at_s=round(at_s, 3),
            calm=place.calm,
            rate_per_s=rate_per_s,
            settle_s=step.warm_up_s + LEAD_S,
            duration_s=step.measure_s,
            recording=seen.recording,
            in_flight_mean=seen.in_flight_mean,
            **used,
            idle_cpu_ns=None if first.idle_ns is None or last.idle_ns is None else max(last.idle_ns - first.idle_ns, 0),
            steal_share=(last.steal_s - first.steal_s) / wall_s / (os.cpu_count() or 1),
            others_cpu_share=others,
        )

    def _calm_down(self) -> None:
        until_s = time.monotonic() + QUIET_AT_MOST_S
        used_ns = self._cpu_ns()
        while time.monotonic() < until_s:
            time.sleep(QUIET_LOOK_S)
            before_ns, used_ns = used_ns, self._cpu_ns()
            if before_ns is None or used_ns is None or used_ns - before_ns < QUIET_CORES * QUIET_LOOK_S * 1e9:
                return

    def _cpu_ns(self, but: str = "") -> int | None:
        """Read what all candidates have used, `but` one. That one of them has died is found out when it is its turn."""
        used_ns: list[int | None] = []
        for name, server in self.servers.items():
            with suppress(ServerError):
                used_ns += [server.cpu_ns()] if name != but else []
        return None if None in used_ns else sum(filter(None, used_ns))

    def _moment(self, candidate: str) -> _Moment:
        reading, at_s = self.servers[candidate].read(), time.monotonic()
        generator = ProcessMeter(self.generator.pid).read()
        times = psutil.cpu_times()
        steal_s = getattr(times, "steal", 0.0)  # what the host gave to others, where it can be known
        busy_s = sum(times) - times.idle - getattr(times, "iowait", 0.0) - steal_s
        busy_s -= getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)  # already in user and nice
        return _Moment(reading, generator, steal_s, busy_s, self._cpu_ns(but=candidate), at_s)


def _name(workload: Workload, candidate: str) -> str:
    return f"{workload.name}.{candidate}"


def _patience_s(workload: Workload) -> float:
    return max(2 * workload.slo_ms / 1e3, 1.0)


def _others(busy_s: float, parts: list[Usage], wall_s: float) -> float | None:
    """Return the cores that neither generator nor server nor its helpers used; None where a part cannot be read."""
    known_ns = Usage.total(parts).cpu_ns
    return None if known_ns is None else max((busy_s - known_ns / 1e9) / wall_s, 0.0)
