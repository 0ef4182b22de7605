"""The circuit breaker: when a service is silent, one thread asks it on behalf of a whole worker.

Libraries for this let a visitor through from time to time, who then waits on behalf of the others (and pybreaker holds a lock
during each call, so that a worker's threads take turns). A sync worker has no thread to spare for that.
"""

import math
import threading
import time
from collections.abc import Callable

# A wait in vain says that the service is silent only if nobody else heard from it for so long: one locked row turns nobody away.
QUIET_S = 1.0


class Breaker:
    """`is_open`: requests are refused at once, where each would wait for itself until no thread is left for any other.

    It opens with the first wait in vain, calls `on_open`, which must let `probe` run in a thread, and closes with the first thing
    that anybody hears: opening it wrongly costs the time of one question.
    """

    def __init__(self, on_open: Callable[[], object], clock: Callable[[], float] = time.monotonic) -> None:
        self.is_open = False
        self._on_open, self._clock = on_open, clock
        self._heard_at = -math.inf
        self._probing = False
        self._lock = threading.Lock()

    def heard(self) -> None:
        """Note that something came from the service."""
        self._heard_at = self._clock()
        self.is_open = False

    def silent(self) -> None:
        """Note that somebody waited in vain."""
        with self._lock:
            if self._clock() - self._heard_at < QUIET_S:
                return
            self.is_open, starts, self._probing = True, not self._probing, True
        if starts:
            self._on_open()

    def probe(self, ask: Callable[[], bool]) -> None:
        """Ask until there is an answer; `ask` says whether there was one and takes its time when there is none."""
        try:
            while self.is_open and not ask():
                pass
        finally:  # also when asking fails: nobody would close it later
            with self._lock:
                self.is_open = self._probing = False
