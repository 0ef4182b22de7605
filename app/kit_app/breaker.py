"""The circuit breaker: when a service is silent, one asks it on behalf of a whole worker, instead of all who come."""

import math
import threading
import time
from collections.abc import Callable

# A wait that ended in vain says that the service is silent only if nobody else heard from it for so long, in seconds.
# Without this, one locked row would turn all others away.
QUIET_S = 1.0


class Breaker:
    """Whether the visits of a worker may ask a service, such as the database; `is_open`: they are refused at once.

    Without it each visit finds out for itself that there is no answer, and soon all threads are finding out, so that
    requests that do not need it wait too. It opens with the first wait that ends in vain and closes with the first
    thing that anybody hears, so opening it wrongly costs the time of one question. `on_open` is called when it opens and
    must let `probe` run, in a thread of its own: a visitor who asks on behalf of the others would occupy the only thread
    of a sync worker.
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
            opens = not self.is_open and not self._probing
            self.is_open = True
            self._probing = self._probing or opens
        if opens:
            self._on_open()

    def probe(self, ask: Callable[[], bool]) -> None:
        """Ask until there is an answer; `ask` says whether there was one and takes its time when there is none.

        However this ends, the breaker is closed then: nobody would close it later.
        """
        try:
            while self.is_open and not ask():
                pass
        finally:
            with self._lock:
                self.is_open = self._probing = False
