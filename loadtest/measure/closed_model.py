"""The closed model: so many visitors, each sends as soon as it has its answer. It finds capacity, never latency."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Mapping
from typing import Any

from gevent.pool import Group
from locust import FastHttpUser
from locust.env import Environment

from loadtest.measure.open_model import Visit, choices_of, new_visitor, run_task
from loadtest.measure.recorder import Recorder


class ClosedModel:
    """`users` visitors in a loop without a pause."""

    def __init__(self, environment: Environment, recorder: Recorder, mix: Mapping[type[FastHttpUser], float], users: int) -> None:
        if users < 1:
            raise ValueError(f"{users} users; right is 1 or more, or a rate for the open model")
        self.start_s, self.until_s = math.nan, math.inf
        self._environment, self._recorder, self._users = environment, recorder, users
        self._choices = list(choices_of(mix))
        self._visits = Group()

    def arrive(self) -> None:
        """Send all visitors into their loops; returns when these have ended."""
        self.start_s = time.perf_counter()
        for number in range(self._users):
            self._visits.spawn(self._loop, random.Random(number))  # noqa: S311 - the same tasks in each run, no secret
        self._visits.join()

    def finish(self, patience_s: float) -> None:
        """Wait for the last answers."""
        self._visits.join(timeout=patience_s)
        self._visits.kill()

    @property
    def in_flight(self) -> int:
        """Visitors on their way."""
        return len(self._visits)

    def _loop(self, chance: random.Random) -> None:
        visitors: dict[Any, Any] = {}
        weights = [weight for _, _, weight in self._choices]
        while (now_s := time.perf_counter()) < self.until_s:
            cls, work, _ = chance.choices(self._choices, weights)[0]
            if cls not in visitors:
                visitors[cls] = new_visitor(cls, self._environment)
            self._recorder.arrival(now_s, dropped=False)
            run_task(visitors[cls], work, Visit(now_s, now_s, planned=False), self._recorder)
