"""The processes that make load, from the side that gives them orders. One is enough for 5,000 requests/s."""

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Self, cast

from pydantic import RootModel, TypeAdapter

from loadtest.measure.order import Generated, Order, StepOrder
from loadtest.records.recording import Recording
from loadtest.records.store import RunError

ROOT = Path(__file__).resolve().parents[2]
STOP_TIMEOUT_S = 5
# How to start one elsewhere, where the kit lies in the same folder. A host that does not answer any more ends ssh, and so the run.
_THERE = f"cd {shlex.quote(str(ROOT))} && exec .venv/bin/python -m loadtest.measure.generator"
ELSEWHERE = f"ssh -o BatchMode=yes -o ServerAliveInterval=2 {{host}} {shlex.quote(_THERE)}"
APART = 0.05  # of what is measured: so much earlier may one of them begin or end than another


class GeneratorError(RunError):
    """The generator refused its order, or died."""


class GeneratorProcess:
    """A process that visits one server, then another; it ends with the `with` block. `host`: where it runs; empty: here."""

    def __init__(self, host: str = "") -> None:
        self._host = host
        elsewhere = os.environ.get("LOADTEST_GENERATOR", ELSEWHERE)
        self._command = shlex.split(elsewhere.replace("{host}", host)) if host else [sys.executable, "-m", "loadtest.measure.generator"]

    def __enter__(self) -> Self:
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C is for the runner: it ends the generator when it has saved what it has
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.communicate(timeout=STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def visit(self, order: Order) -> Self:
        """Say whom to visit from now on; raises GeneratorError with the reason when that is refused."""
        self._tell(order)
        self._hear("ready")
        return self

    def step(self, step: StepOrder, on_event: Callable[[str], None] = lambda _: None) -> Generated:
        """Make one stretch of load; `on_event` hears "measuring" and "measured". Raises GeneratorError."""
        self._tell(step)
        for event in ("measuring", "measured"):
            self._hear(event)
            on_event(event)
        return TypeAdapter(Generated).validate_python(self._hear("done"))

    @property
    def pid(self) -> int:
        """For whoever counts what else uses the machine."""
        return self._process.pid

    def __str__(self) -> str:
        return f"the generator on {self._host}" if self._host else "the generator"

    def _tell(self, order: Order | StepOrder) -> None:
        pipe = cast("IO[str]", self._process.stdin)
        try:
            pipe.write(RootModel(order).model_dump_json() + "\n")
            pipe.flush()
        except BrokenPipeError:
            raise GeneratorError(f"{self} died before it was told what to do; its last words are above") from None

    def _hear(self, event: str) -> dict[str, Any]:
        """Return the facts of the next event, which must have this name."""
        message: dict[str, Any] = json.loads(cast("IO[str]", self._process.stdout).readline() or "{}")
        if message.get("event") == "refused":
            raise GeneratorError(message["reason"])
        if message.pop("event", None) != event:
            raise GeneratorError(f"{self} ended before it was {event}; its last words are above")
        return message


class Generators(GeneratorProcess):
    """Processes on several hosts that visit a server together, each with its share of the arrivals.

    Each measures by its own clock alone, so that clocks need not agree; that all measured the same stretch is seen from here.
    """

    def __init__(self, hosts: Sequence[str]) -> None:
        self._all = [GeneratorProcess(host) for host in hosts]

    def __enter__(self) -> Self:
        with ExitStack() as begun:
            for one in self._all:
                begun.enter_context(one)
            self._begun = begun.pop_all()
        return self

    def __exit__(self, *reason: object) -> None:
        self._begun.close()

    @property
    def pid(self) -> int:
        return self._all[0].pid  # what runs elsewhere takes nothing from this machine

    def visit(self, order: Order) -> Self:
        for one in self._all:
            one.visit(order)
        return self

    def step(self, step: StepOrder, on_event: Callable[[str], None] = lambda _: None) -> Generated:
        """Make one stretch of load together. "measuring" is when the first begins, "measured" when the last ends."""
        number, heard = len(self._all), {"measuring": list[float](), "measured": list[float]()}

        def hear(event: str) -> None:
            heard[event].append(time.monotonic())
            if len(heard[event]) == (1 if event == "measuring" else number):
                on_event(event)

        def one_step(index: int) -> Generated:
            users = step.users // number + (index < step.users % number)
            share = replace(step, rate_per_s=step.rate_per_s / number, users=users, seed=step.seed * number + index)
            return self._all[index].step(share, hear)

        with ThreadPoolExecutor(number) as pool:
            parts = list(pool.map(one_step, range(number)))
        apart_s = max(max(moments) - min(moments) for moments in heard.values())
        recording = Recording.merged([part.recording for part in parts])
        if apart_s > APART * step.measure_s:
            recording = replace(recording, errors={**recording.errors, f"generators measured {apart_s * 1e3:.0f} ms apart": 1})
        busiest = max(parts, key=lambda part: part.cpu_share)
        return replace(busiest, recording=recording, in_flight_mean=sum(part.in_flight_mean for part in parts))
