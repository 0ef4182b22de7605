"""Run one or more generator processes as one load, and put together what they saw."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from loadtest.order import Order
from loadtest.recorder import Recording

ROOT = Path(__file__).resolve().parent.parent
# From the word to the moment all generators begin: time for the word to arrive on a busy machine.
LEAD_S = 0.3
STOP_TIMEOUT_S = 5


class GeneratorError(Exception):
    """A generator refused its order, or died."""


@dataclass(frozen=True, slots=True)
class Generated:
    """What all generators saw in the same stretch of time, and how they fared themselves.

    cpu_share: of one core, the busiest process. from_s, until_s, schedule_starts_s (moment 0 of each process's arrivals):
    readings of the monotonic clock.
    """

    recording: Recording
    settled: bool
    warm_up_s: float
    from_s: float
    until_s: float
    cpu_share: float
    in_flight_mean: float
    memory_bytes: int
    schedule_starts_s: tuple[float, ...]


def split(order: Order, processes: int) -> list[Order]:
    """Divide an order among processes: each has its part of the rate or of the users, and arrivals of its own."""
    users = [order.users // processes + (number < order.users % processes) for number in range(processes)]
    return [
        replace(order, rate_per_s=order.rate_per_s / processes, users=users[number], seed=order.seed + 7919 * number)
        for number in range(processes)
        if order.rate_per_s or users[number]
    ]


def generate_load(orders: Sequence[Order], on_event: Callable[[str], None] = lambda _: None) -> Generated:
    """Run the generators; `on_event` hears "measuring" and "measured". Raises GeneratorError."""
    with ExitStack() as stack:
        generators = [stack.enter_context(_generator(order)) for order in orders]
        settled = [_hear(generator, "settled") for generator in generators]
        start_s = time.monotonic() + LEAD_S
        for generator in generators:
            _tell(generator, json.dumps({"measure_from_s": start_s}))
        for event in ("measuring", "measured"):
            for generator in generators:
                _hear(generator, event)
            on_event(event)
        done = [_hear(generator, "done") for generator in generators]
    return Generated(
        recording=Recording.merged([Recording.from_json(result["recording"]) for result in done]),
        settled=all(part["settled"] for part in settled),
        warm_up_s=max(part["warm_up_s"] for part in settled),
        from_s=start_s,
        until_s=start_s + orders[0].measure_s,
        cpu_share=max(result["cpu_s"] for result in done) / orders[0].measure_s,
        in_flight_mean=sum(result["in_flight_mean"] for result in done),
        memory_bytes=sum(result["memory_bytes"] for result in done),
        schedule_starts_s=tuple(result["schedule_start_s"] for result in done),
    )


@contextmanager
def _generator(order: Order) -> Iterator[subprocess.Popen[str]]:
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(
        [sys.executable, "-m", "loadtest.generator"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    try:
        _tell(process, order.to_json())
        yield process
    finally:
        process.terminate()
        try:
            process.communicate(timeout=STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _tell(process: subprocess.Popen[str], line: str) -> None:
    try:
        _pipe(process.stdin).write(line + "\n")
        _pipe(process.stdin).flush()
    except BrokenPipeError:
        raise GeneratorError("a generator died before it was told what to do; its last words are above") from None


def _hear(process: subprocess.Popen[str], event: str) -> dict[str, Any]:
    """Return the facts of the next event of this name; others before it are passed over."""
    for line in _pipe(process.stdout):
        message: dict[str, Any] = json.loads(line)
        if message["event"] == "refused":
            raise GeneratorError(message["reason"])
        if message["event"] == event:
            return message
    raise GeneratorError(f"a generator ended before it was {event}; its last words are above")


def _pipe(pipe: IO[str] | None) -> IO[str]:
    if pipe is None:
        raise GeneratorError("a generator was started without pipes")
    return pipe
