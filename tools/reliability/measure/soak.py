"""The soak: visitors for a long time, with workers recycled and a rollout every minute; before and after, what is held."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from tools.reliability.judge.growth import MINUTE_S, held, leaks
from tools.reliability.measure.event import Event
from tools.reliability.measure.load import Load
from tools.reliability.measure.releases import version
from tools.reliability.measure.samples import read_stack
from tools.reliability.measure.stacks import Options, gateway_address, let_run, outcome, ready, stack_for
from tools.reliability.records import Counts, Sample, Soak
from tools.stack import StackError
from tools.stack.compose import ComposeStack, docker
from tools.stack.rollout import Rollout, Wish as Release
from tools.stack.waiting import wait_until

# The load: a browser's visit of three requests, a read and a write of the API, in equal parts.
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
# Readings in a row, a second apart, that are alike: nothing moves any more. nginx lets go of its connections within 5 s of the load.
CALM = 6


@dataclass
class Seen:
    """What is written down while it runs. began_s: of the monotonic clock; all other moments count from it.

    rollouts: (begin, seconds that it took). missed: samples for which the engine did not answer.
    """

    began_s: float
    samples: list[Sample] = field(default_factory=list)
    rollouts: list[tuple[float, float]] = field(default_factory=list)
    missed: int = 0
    problem: str = ""
    interrupted: bool = False


def lasts_s(options: Options, minutes: float) -> float:
    """About how long it takes in all, with stacks and warm-up."""
    return len(options.classes) * (minutes * MINUTE_S + WARM_UP_S + 90.0)


def run(options: Options, minutes: float, say: Callable[[str], None]) -> Iterator[Soak]:
    """Soak a stack of each class; yields what was seen. Ctrl-C ends the run early and keeps what was measured until then."""
    if os.geteuid():
        raise StackError("only root may see what the processes of a container have open", hint="run this as root")
    per_worker = max(round(options.rate_per_s * REQUESTS_PER_VISITOR * WORKER_LIVES_S / (2 * options.replicas)), 20)
    recycling = {"GUNICORN_CMD_ARGS": f"--max-requests {per_worker} --max-requests-jitter {per_worker // 2}"}
    for worker_class in options.classes:
        say(f"{worker_class}: starting a stack of its own; workers are replaced after about {per_worker} requests ...")
        with stack_for(options, worker_class, recycling) as stack:
            seen = _soak(stack, options, minutes, worker_class, say)
        yield seen
        if seen.interrupted:
            return


def _soak(stack: ComposeStack, options: Options, minutes: float, worker_class: str, say: Callable[[str], None]) -> Soak:
    ready(stack)
    url = gateway_address(stack)
    images = docker("inspect", "--format", "{{.Image}}", stack.units("app")[0].id), version(stack, "RELEASE=2")
    say(f"    warming up for {WARM_UP_S:g} s, with a first rollout ...")
    with Load(url, rate_per_s=options.rate_per_s, mix=MIX) as load:
        warm = load.sent_for(WARM_UP_S)
        _release(stack, images[1])
        wait_until(warm, WARM_UP_S + 1, "not warm")
    before = at_rest(lambda: held(read_stack(stack.name)))
    seen = Seen(time.monotonic())
    with Load(url, rate_per_s=options.rate_per_s, mix=MIX, seed=2) as load, sampling(stack.name, seen):
        try:
            _live(stack, images, minutes * MINUTE_S, seen, say)
        except KeyboardInterrupt:
            seen.interrupted = True
            say("    interrupted: what was measured until now is kept ...")
            stack.scale("app", options.replicas)  # a rollout that is interrupted may leave one container less or more
        except StackError as error:
            seen.problem = error.message
    after = at_rest(lambda: held(read_stack(stack.name)), before)
    event = Event("soak", f"{minutes:g} minutes of visitors", "no request", lambda _: None, promised=True)
    return Soak(
        **options.facts(worker_class, event),
        ended_s=load.result().stopped_s,
        **outcome(stack, [load.result()]),
        before=before,
        after=after,
        **vars(seen),
    )


def _release(stack: ComposeStack, image: str) -> None:
    Rollout(stack, Release(image=image), lambda _line: None).run()


def _live(stack: ComposeStack, images: Sequence[str], duration_s: float, seen: Seen, say: Callable[[str], None]) -> None:
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


def _progress(seen: Seen) -> str:
    latest: dict[str, float] = {}
    for sample in seen.samples:
        latest[sample.service] = sample.anonymous_bytes / 2**20
    heaps = ", ".join(f"{service} {heap:.0f} MiB" for service, heap in latest.items())
    return f"rollout {len(seen.rollouts)} took {seen.rollouts[-1][1]:.0f} s; heaps of one container: {heaps or 'not read yet'}"


@contextmanager
def sampling(name: str, seen: Seen) -> Iterator[None]:
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
