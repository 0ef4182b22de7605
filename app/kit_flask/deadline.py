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

# How long all waits within one block may take together. Past it the answer is 503; without it a request holds its thread for as
# long as the database is away or frozen.
SILENCE_S = 1.5
# How often a wait is interrupted to look at the clock.
_LOOK_S = 0.1
# What the log says of a request that was refused without asking.
NOT_ASKED = "no answer from the database for those who asked before; it was not asked again"


class SilenceError(psycopg.OperationalError):
    """Nothing came within the deadline."""


class NotAskedError(psycopg.OperationalError):
    """The breaker is open."""


@dataclass(slots=True)
class _Clock:
    breaker: Breaker
    probes: bool  # it asks although the breaker is open
    ends_at: float | None = None  # set by the first wait

    def check(self) -> None:
        if self.breaker.is_open and not self.probes:
            raise NotAskedError(NOT_ASKED)


_clock: ContextVar[_Clock | None] = ContextVar("database_clock", default=None)


@contextmanager
def deadline(breaker: Breaker, *, probes: bool = False) -> Iterator[None]:
    """Let what waits within the block wait no longer than SILENCE_S; outside of blocks nothing is bounded (migrations may take long)."""
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
            # It waited for a connection of the pool while those in front found out. Each trying again would make the last wait
            # for many times the deadline.
            clock.check()
        return _until_deadline(super()._connect_gen(conninfo))

    def wait(self, gen: PQGen[_T], interval: float = _LOOK_S, timeout: float | None = None) -> _T:
        try:
            return super().wait(_until_deadline(gen), interval, timeout)
        except SilenceError:
            # An answer may still come: the connection cannot be used again, and the pool learns it by this.
            self.pgconn.finish()
            raise


def _until_deadline(waits: Generator[_Wait, Ready | int, _T]) -> Generator[_Wait, Ready | int, _T]:
    """Pass psycopg's requests to wait on. It resumes them every _LOOK_S at least: then we look at the clock.

    Only a wait in which nothing arrived counts, and the second such: when this process is short of CPU time, an answer may lie
    there unread, and that is no fault of the database.
    """
    clock = _clock.get()
    if clock and clock.ends_at is None:
        clock.ends_at = time.monotonic() + SILENCE_S
    overdue = False
    try:
        wait = next(waits)
        while True:
            ready = yield wait
            if clock and ready & READY_R:
                clock.breaker.heard()
            if clock and clock.ends_at and ready == READY_NONE and time.monotonic() > clock.ends_at:
                if overdue:
                    clock.breaker.silent()
                    raise SilenceError(f"no answer from the database within {SILENCE_S} s")
                overdue = True
            wait = waits.send(ready)
    except StopIteration as end:
        return cast(_T, end.value)
