"""A circuit breaker that tries again in a thread of its own.

Libraries let a request wait on behalf of the others; a sync worker has no thread to spare for that. (pybreaker 1.4 also holds its
lock during each call, so that the threads of a worker take turns.)
"""

import math
import threading
import time
from collections.abc import Callable

GRACE_S = 1.0  # after a success, in which a failure does not count: one locked row must not turn all others away


class Breaker:
    """While `is_open`, requests are refused at once; each would wait for itself until no thread is left for anything else.

    It opens with the first failure and calls `on_open`, which must run `probe` in a thread. It closes with anybody's first success.
    """

    def __init__(self, on_open: Callable[[], object], clock: Callable[[], float] = time.monotonic) -> None:
        self.is_open = False
        self._on_open, self._clock = on_open, clock
        self._success_at = -math.inf
        self._probing = False
        self._lock = threading.Lock()

    def success(self) -> None:
        """Note that the service answered."""
        self._success_at, self.is_open = self._clock(), False

    def failure(self) -> None:
        """Note that the service did not answer in time."""
        with self._lock:
            if self._clock() - self._success_at < GRACE_S:
                return
            self.is_open, starts, self._probing = True, not self._probing, True
        if starts:
            self._on_open()

    def probe(self, ask: Callable[[], bool]) -> None:
        """Ask until there is an answer; `ask` says whether there was one, and takes its time when there is none."""
        try:
            while self.is_open and not ask():
                pass
        finally:  # also when asking fails: nothing would close it later
            with self._lock:
                self.is_open = self._probing = False
