"""Run one or more generator processes as one load, and put together what they saw."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Self

from pydantic import RootModel, TypeAdapter

from loadtest.measure.order import Done, Order, StepOrder
from loadtest.records.recording import Recording

ROOT = Path(__file__).resolve().parents[2]
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


class Generators:
    """Generator processes that visit one server together, then another; they end with the `with` block."""

    def __init__(self, processes: int = 1) -> None:
        self._count = processes
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        try:
            for _ in range(self._count):
                self._processes.append(_start())
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def visit(self, order: Order) -> Self:
        """Say whom to visit from now on; raises GeneratorError with the reason when that is refused."""
        for process in self._processes:
            _tell(process, RootModel(order).model_dump_json())
        for process in self._processes:
            _hear(process, "ready")
        return self

    def step(self, step: StepOrder, on_event: Callable[[str], None] = lambda _: None) -> Generated:
        """Make one stretch of load; `on_event` hears "measuring" and "measured". Raises GeneratorError."""
        parts = list(zip(self._processes, _split(step, self._count), strict=False))  # fewer users than processes: some rest
        for process, part in parts:
            _tell(process, RootModel(part).model_dump_json())
        settled = [_hear(process, "settled") for process, _ in parts]
        start_s = time.monotonic() + LEAD_S
        for process, _ in parts:
            _tell(process, json.dumps({"measure_from_s": start_s}))
        for event in ("measuring", "measured"):
            for process, _ in parts:
                _hear(process, event)
            on_event(event)
        done = [TypeAdapter(Done).validate_python(_hear(process, "done")) for process, _ in parts]
        return Generated(
            recording=Recording.merged([result.recording for result in done]),
            settled=all(part["settled"] for part in settled),
            warm_up_s=max(part["warm_up_s"] for part in settled),
            from_s=start_s,
            until_s=start_s + step.measure_s,
            cpu_share=max(result.cpu_s for result in done) / step.measure_s,
            in_flight_mean=sum(result.in_flight_mean for result in done),
            memory_bytes=sum(result.memory_bytes for result in done),
            schedule_starts_s=tuple(result.schedule_start_s for result in done),
        )

    @property
    def pids(self) -> list[int]:
        """The processes, for whoever counts what else uses the machine."""
        return [process.pid for process in self._processes]

    def _end(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.communicate(timeout=STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()


def _split(step: StepOrder, processes: int) -> list[StepOrder]:
    """Divide a step among processes: each has its part of the rate or of the users, and arrivals of its own."""
    users = [step.users // processes + (number < step.users % processes) for number in range(processes)]
    return [
        replace(step, rate_per_s=step.rate_per_s / processes, users=users[number], seed=step.seed + 7919 * number)
        for number in range(processes)
        if step.rate_per_s or users[number]
    ]


def _start() -> subprocess.Popen[str]:
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        [sys.executable, "-m", "loadtest.measure.generator"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,  # Ctrl-C is for the runner: it ends the generators when it has saved what it has
    )


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
