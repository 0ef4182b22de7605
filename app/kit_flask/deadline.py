"""A deadline for everything that waits for PostgreSQL, inside the client: no setting of the server helps when it is frozen.

TCP time-outs do not help either as long as its kernel acknowledges, and libpq's connect_timeout is at least 2 s.
"""

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Self, TypeVar, cast

import psycopg
from psycopg.abc import PQGen, PQGenConn
from psycopg.waiting import READY_NONE, READY_R, Ready

from kit_flask.breaker import Breaker

_T = TypeVar("_T")
_Wait = TypeVar("_Wait")

# Seconds that all waits within one block may take together, past it the answer is 503; and how often a wait looks at the clock.
DEADLINE_S, _LOOK_S = 1.5, 0.1
BREAKER_OPEN = "the circuit breaker is open: the database did not answer others"


class DeadlineError(psycopg.OperationalError):
    """The database did not answer within the deadline."""


class BreakerOpenError(psycopg.OperationalError):
    """The database was not asked."""


@dataclass(slots=True)
class _Clock:
    breaker: Breaker
    probes: bool  # it asks although the breaker is open
    ends_at: float | None = None  # set by the first wait

    def check(self) -> None:
        if self.breaker.is_open and not self.probes:
            raise BreakerOpenError(BREAKER_OPEN)


_clock: ContextVar[_Clock | None] = ContextVar("database_clock", default=None)


@contextmanager
def deadline(breaker: Breaker, *, probes: bool = False) -> Iterator[None]:
    """Bound what waits within the block; nothing else is bounded, as migrations may take long. BreakerOpenError at once if it is open."""
    clock = _Clock(breaker, probes)
    clock.check()
    token = _clock.set(clock)
    try:
        yield
    finally:
        _clock.reset(token)


class Connection(psycopg.Connection[Any]):
    """A connection whose every wait ends at the deadline."""

    @classmethod
    def _connect_gen(cls, conninfo: str = "") -> PQGenConn[Self]:
        if clock := _clock.get():
            clock.check()  # others met the deadline while it waited for the pool: if each tried again, the last would wait for all
        return _until_deadline(super()._connect_gen(conninfo))

    def wait(self, gen: PQGen[_T], interval: float = _LOOK_S, timeout: float | None = None) -> _T:
        try:
            return super().wait(_until_deadline(gen), interval, timeout)
        except DeadlineError:
            self.pgconn.finish()  # an answer may still come: the pool learns by this that it cannot be used again
            raise


def _until_deadline(waits: Generator[_Wait, Ready | int, _T]) -> Generator[_Wait, Ready | int, _T]:
    """Pass on what psycopg waits for. It resumes this every _LOOK_S at least.

    Only the second wait in which nothing arrived counts: when this process is short of CPU time, an answer may lie there unread.
    """
    clock = _clock.get()
    if clock and clock.ends_at is None:
        clock.ends_at = time.monotonic() + DEADLINE_S
    overdue = False
    try:
        wait = next(waits)
        while True:
            ready = yield wait
            if clock and ready & READY_R:
                clock.breaker.success()
            if clock and clock.ends_at and ready == READY_NONE and time.monotonic() > clock.ends_at:
                if overdue:
                    clock.breaker.failure()
                    raise DeadlineError(f"no answer from the database within {DEADLINE_S} s")
                overdue = True
            wait = waits.send(ready)
    except StopIteration as end:
        return cast(_T, end.value)
