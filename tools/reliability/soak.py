"""The soak: visitors for a long time, with workers recycled and a rollout every minute; afterwards nothing may have grown or be left."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from statistics import fmean
from typing import Any

from tools.reliability.drift import GROWS, Drift, drift
from tools.reliability.ledger import Balance, reconcile, stored_writes
from tools.reliability.load import Load, Outcome
from tools.reliability.observe import ANSWER_LINES, Book, Record, Wish, as_json, failed_answers, let_run, ready, stack_for, way_in
from tools.reliability.releases import version
from tools.reliability.report import MIB
from tools.reliability.samples import Counts, Sample, held, leaks, read_stack
from tools.reliability.timeline import p99
from tools.stack import StackError
from tools.stack.compose import ComposeStack, docker
from tools.stack.rollout import Rollout, Wish as Release
from tools.stack.waiting import wait_until

# Who comes: a browser's visit of three requests, a read and a write of the API, in equal parts.
MIX = {"guest": 1.0, "reader": 1.0, "writer": 1.0}
REQUESTS_PER_VISITOR = 5 / 3
# Before anything is counted: tables, caches and pools are there, and a first release is over.
WARM_UP_S = 30.0
RELEASE_EVERY_S = 60.0
SAMPLE_EVERY_S = 5.0
# About how long a worker lives until it has had its max_requests.
WORKER_LIVES_S = 20.0
# After the load: what was open has ended, idle connections too (nginx's end after 1 s).
REST_S = 60.0
# A container grows while it warms up, and a rollout replaces it every minute. So each is looked at when it is this old, and the
# line is drawn through the containers, by when they started.
AGE_S = (20.0, 50.0)
# What serves all the time is looked at minute by minute, without the first quarter, in which caches still fill.
SETTLES = 0.25
MINUTE_S = 60.0
# Readings in a row, a second apart, that are alike: nothing moves any more. nginx lets go of its connections within 5 s of the load.
CALM = 6
# Of each service the most that one container held of these is reported.
SHOWN = ("memory_bytes", "anonymous_bytes", "processes", "files", "sockets", "connections", "temp_bytes", "log_bytes")
COLUMNS = tuple(one.name for one in fields(Sample) if one.name != "pids")


@dataclass
class Observation:
    """What is written down while it runs. began_s: of the monotonic clock; all other moments count from it.

    rollouts: (begin, seconds that it took). missed: samples for which the engine did not answer.
    """

    began_s: float
    samples: list[Sample] = field(default_factory=list)
    rollouts: list[tuple[float, float]] = field(default_factory=list)
    missed: int = 0
    problem: str = ""
    interrupted: bool = False


def lasts_s(wish: Wish, minutes: float) -> float:
    """About how long it takes in all, with stacks and warm-up."""
    return len(wish.classes) * (minutes * MINUTE_S + WARM_UP_S + 90.0)


def run(wish: Wish, minutes: float, folder: Path, machine: str, say: Callable[[str], None]) -> list[Record]:
    """Soak a stack of each class. Returns the records of the folder: those that it held, of other classes, and these.

    Ctrl-C ends the run early and keeps what was measured until then.
    """
    if os.geteuid():
        raise StackError("only root may see what the processes of a container have open", hint="run this as root")
    book = Book(folder / "soak.json")
    per_worker = max(round(wish.rate_per_s * REQUESTS_PER_VISITOR * WORKER_LIVES_S / (2 * wish.replicas)), 20)
    recycling = {"GUNICORN_MAX_REQUESTS": str(per_worker), "GUNICORN_MAX_REQUESTS_JITTER": str(per_worker // 2)}
    for worker_class in wish.classes:
        say(f"{worker_class}: starting a stack of its own; workers are replaced after about {per_worker} requests ...")
        with stack_for(wish, worker_class, recycling) as stack:
            record = {
                "worker_class": worker_class,
                "rate_per_s": wish.rate_per_s,
                "max_in_work": wish.max_in_work,
                "minutes": minutes,
                "command": wish.command,
                "machine": machine,
                "max_requests": per_worker,
                **_soak(stack, wish, minutes, folder, say),
            }
        book.add(record)
        say(f"    {record['said']}")
        if record["interrupted"]:
            break
    return book.records


def _soak(stack: ComposeStack, wish: Wish, minutes: float, folder: Path, say: Callable[[str], None]) -> Record:
    ready(stack)
    url = way_in(stack)
    images = docker("inspect", "--format", "{{.Image}}", stack.units("app")[0].id), version(stack, "RELEASE=2")
    say(f"    warming up for {WARM_UP_S:g} s, with a first rollout ...")
    with Load(url, folder, rate_per_s=wish.rate_per_s, mix=MIX) as load:
        warm = load.sent_for(WARM_UP_S)
        _release(stack, images[1])
        wait_until(warm, WARM_UP_S + 1, "not warm")
    before = at_rest(lambda: held(read_stack(stack.name)))
    seen = Observation(time.monotonic())
    with Load(url, folder, rate_per_s=wish.rate_per_s, mix=MIX, seed=2) as load, sampling(stack.name, seen):
        try:
            _live(stack, images, minutes * MINUTE_S, seen, say)
        except KeyboardInterrupt:
            seen.interrupted = True
            say("    interrupted: what was measured until now is kept ...")
            stack.scale("app", wish.replicas)  # a rollout that is interrupted may leave one container less or more
        except StackError as error:
            seen.problem = error.message
    after = at_rest(lambda: held(read_stack(stack.name)), before)
    outcome = load.result()
    record = judged(seen, outcome, reconcile(outcome.writes, stored_writes(stack)), before, after)
    told = stack.compose("logs", "--no-color", "gateway").stdout.splitlines()
    return {**record, "answers": list(failed_answers(told))[:ANSWER_LINES]}


def _release(stack: ComposeStack, image: str) -> None:
    Rollout(stack, Release(image=image), lambda _line: None).run()


def _live(stack: ComposeStack, images: Sequence[str], duration_s: float, seen: Observation, say: Callable[[str], None]) -> None:
    """Release every minute until the time is over; at least once."""
    until_s = seen.began_s + duration_s
    for number in itertools.count():
        began_s = time.monotonic()
        _release(stack, images[number % 2])
        seen.rollouts.append((began_s - seen.began_s, time.monotonic() - began_s))
        say(f"    [{max(until_s - time.monotonic(), 0) / MINUTE_S:.0f} min left] {_progress(seen)}")
        let_run(min(began_s + RELEASE_EVERY_S, until_s) - time.monotonic())
        if time.monotonic() >= until_s:
            return


def _progress(seen: Observation) -> str:
    latest: dict[str, float] = {}
    for sample in seen.samples:
        latest[sample.service] = sample.anonymous_bytes / MIB
    heaps = ", ".join(f"{service} {heap:.0f} MiB" for service, heap in latest.items())
    return f"rollout {len(seen.rollouts)} took {seen.rollouts[-1][1]:.0f} s; heaps of one container: {heaps or 'not read yet'}"


@contextmanager
def sampling(name: str, seen: Observation) -> Iterator[None]:
    """Read a stack every few seconds while the block runs."""
    done = threading.Event()

    def sample() -> None:
        while not done.wait(SAMPLE_EVERY_S):
            try:
                seen.samples += read_stack(name, time.monotonic() - seen.began_s)
            except StackError:  # Ctrl-C reaches the engine's client too
                seen.missed += 1

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def at_rest(read: Callable[[], Counts], wanted: Counts | None = None) -> Counts:
    """Return what is held once nothing moves any more, or, with `wanted`, once it is no more than that. At the latest after REST_S."""
    until_s = time.monotonic() + REST_S
    readings: list[Counts] = []
    while True:
        readings.append(read())
        calm = len(readings) >= CALM and all(one == readings[-1] for one in readings[-CALM:])
        if time.monotonic() > until_s or (calm if wanted is None else not leaks(wanted, readings[-1])):
            return readings[-1]
        time.sleep(1)


def judged(seen: Observation, outcome: Outcome, balance: Balance, before: Counts, after: Counts) -> Record:
    """Return what a soak came to, as JSON values; pure."""
    record: Record = {
        "interrupted": seen.interrupted,
        "problem": seen.problem,
        "lasted_s": outcome.stopped_s - outcome.started_s,
        "requests": len(outcome.requests),
        "failed": dict(Counter(f"{request.name} {request.error}" for request in outcome.failed).most_common()),
        "dropped": outcome.dropped,
        "p99_s": p99([request.ended_s - request.due_s for request in outcome.requests]),
        "ledger": {**asdict(balance), "holds": balance.holds},
        "rollouts": seen.rollouts,
        "missed": seen.missed,
        "before": before,
        "after": after,
        "leaks": leaks(before, after),
        "drifts": {service: _as_words(line) for service, line in drifts(seen.samples).items()},
        "most": most(seen.samples),
        **_lives(seen.samples),
        "columns": COLUMNS,
        "samples": [_row(sample) for sample in seen.samples],
    }
    return as_json([*record.items(), ("said", _sentence(record))])


def drifts(samples: Sequence[Sample]) -> dict[str, Drift]:
    """Return for each service how the heap of one container moved, in bytes."""
    points: dict[str, dict[Any, list[Sample]]] = {}
    ended_s = max((sample.at_s for sample in samples), default=0.0)
    for sample in samples:
        of_service = points.setdefault(sample.service, {})
        if sample.service == "app":
            if AGE_S[0] <= sample.age_s <= AGE_S[1]:
                of_service.setdefault(sample.container, []).append(sample)
        elif sample.at_s >= SETTLES * ended_s:
            of_service.setdefault(sample.at_s // MINUTE_S, []).append(sample)
    return {
        service: drift(sorted((fmean(one.at_s for one in group), fmean(one.anonymous_bytes for one in group)) for group in groups.values()))
        for service, groups in points.items()
    }


def _as_words(line: Drift) -> Record:
    return {**asdict(line, dict_factory=as_json), "verdict": line.verdict}


def most(samples: Sequence[Sample]) -> dict[str, dict[str, int]]:
    """Return for each service the most that one of its containers held of each thing."""
    services = {sample.service for sample in samples}
    return {
        service: {name: max(getattr(one, name) for one in samples if one.service == service) for name in SHOWN}
        for service in sorted(services)
    }


def _lives(samples: Sequence[Sample]) -> dict[str, int]:
    """Count the app's containers, and the workers that took the place of another in the same container: at least so many."""
    pids: dict[str, set[int]] = {}
    at_once: Counter[str] = Counter()
    for sample in samples:
        if sample.service == "app":
            pids.setdefault(sample.container, set()).update(sample.pids)
            at_once[sample.container] = max(at_once[sample.container], sample.processes)
    return {"containers": len(pids), "recycled": sum(len(seen) - at_once[container] for container, seen in pids.items())}


def _row(sample: Sample) -> list[Any]:
    values = (getattr(sample, name) for name in COLUMNS)
    return [round(value, 1) if isinstance(value, float) else value for value in values]


def _sentence(record: Record) -> str:
    grown = [service for service, line in record["drifts"].items() if line["verdict"] == GROWS]
    parts = [
        f"{sum(record['failed'].values())} of {record['requests']} requests failed in {record['lasted_s'] / MINUTE_S:.1f} minutes",
        f"{len(record['rollouts'])} rollouts, at least {record['recycled']} workers recycled",
        f"left behind: {', '.join(record['leaks']) or 'nothing'}",
        f"memory grows: {', '.join(grown)}" if grown else "memory does not grow",
        "ledger holds" if record["ledger"]["holds"] else "LEDGER BROKEN",
    ]
    if record["dropped"]:
        parts.insert(1, f"{record['dropped']} more were not sent, because so many were open")
    if record["problem"]:
        parts.append(f"ended early: {record['problem']}")
    return "; ".join(parts)


def broken(records: Sequence[Record]) -> list[str]:
    """Say which soaks did not hold: a request that failed, a write lost or doubled, something left behind, memory that grows."""
    return [
        f"{record['worker_class']}: {record['said']}"
        for record in records
        if record["failed"]
        or record["dropped"]
        or record["leaks"]
        or record["problem"]
        or not record["ledger"]["holds"]
        or any(line["verdict"] == GROWS for line in record["drifts"].values())
    ]
