"""The closed model: so many visitors, each sends as soon as it has its answer. It finds capacity, never latency."""

import math
import random
import time
from collections.abc import Mapping

from locust.env import Environment

from loadtest.measure.open_model import HttpVisitor, Visit, VisitorPool, choices_of
from loadtest.measure.recorder import Recorder


class ClosedModel:
    """`users` visitors in a loop without a pause."""

    def __init__(self, environment: Environment, recorder: Recorder, mix: Mapping[type[HttpVisitor], float], users: int) -> None:
        if users < 1:
            raise ValueError(f"{users} users; right is 1 or more, or a rate for the open model")
        self.start_s, self.until_s = math.nan, math.inf
        self._recorder, self._users = recorder, users
        self._choices = list(choices_of(mix))
        self._chance = random.Random(0)  # noqa: S311 - the same tasks in each run, no secret
        self._pool = VisitorPool(environment, recorder, after=self._go_on)

    def arrive(self) -> None:
        self.start_s = time.perf_counter()
        for _ in range(self._users):
            self._go_on()

    def finish(self, patience_s: float) -> None:
        """Wait for the last answers, and end all visitors."""
        self.until_s = min(self.until_s, time.perf_counter())
        self._pool.settle(patience_s)
        self._pool.close()

    @property
    def in_flight(self) -> int:
        return len(self._pool.busy)

    def _go_on(self) -> None:
        now_s = time.perf_counter()
        if now_s < self.until_s:
            cls, work, _ = self._chance.choices(self._choices, [share for _, _, share in self._choices])[0]
            self._recorder.arrival(now_s, dropped=False)
            self._pool.send(cls, work, Visit(now_s, planned=False))
