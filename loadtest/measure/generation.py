"""The process that makes load, from the side that gives it orders. One is enough for 5,000 requests/s."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Self, cast

from pydantic import RootModel, TypeAdapter

from loadtest.measure.order import Generated, Order, StepOrder

ROOT = Path(__file__).resolve().parents[2]
STOP_TIMEOUT_S = 5


class GeneratorError(Exception):
    """The generator refused its order, or died."""


class GeneratorProcess:
    """A process that visits one server, then another; it ends with the `with` block."""

    def __enter__(self) -> Self:
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "loadtest.measure.generator"],
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

    def _tell(self, order: Order | StepOrder) -> None:
        pipe = cast("IO[str]", self._process.stdin)
        try:
            pipe.write(RootModel(order).model_dump_json() + "\n")
            pipe.flush()
        except BrokenPipeError:
            raise GeneratorError("the generator died before it was told what to do; its last words are above") from None

    def _hear(self, event: str) -> dict[str, Any]:
        """Return the facts of the next event, which must have this name."""
        message: dict[str, Any] = json.loads(cast("IO[str]", self._process.stdout).readline() or "{}")
        if message.get("event") == "refused":
            raise GeneratorError(message["reason"])
        if message.pop("event", None) != event:
            raise GeneratorError(f"the generator ended before it was {event}; its last words are above")
        return message
