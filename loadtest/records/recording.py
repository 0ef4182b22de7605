"""What the generator saw in one stretch of time: durations from the intended start and from the send, and what went wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import Self

from pydantic import Field
from pydantic.dataclasses import dataclass

from loadtest.records.histogram import Encoded, Histogram

ALL = "all"  # what a workload calls all of its requests, whatever their name


@dataclass(frozen=True)
class Series:
    """Requests of one name. `latency` counts from the intended start, `service` from the send; `failed` is latency of failures."""

    latency: Encoded = Field(default_factory=Histogram)
    service: Encoded = Field(default_factory=Histogram)
    failed: Encoded = Field(default_factory=Histogram)

    @classmethod
    def merged(cls, parts: Sequence[Series]) -> Self:
        """Put together requests of several names."""
        return cls(*(Histogram.merged(getattr(part, name) for part in parts) for name in ("latency", "service", "failed")))


@dataclass(frozen=True)
class Recording:
    """A stretch of time as the generator saw it; `series` by the name of the requests.

    offered: arrivals that were due, dropped ones included. dropped: not sent because the bound on requests in flight was
    reached. unfinished: without an answer when the run was ended. slip: send minus intended start, of planned requests.
    """

    duration_s: float
    offered: int
    dropped: int
    unfinished: int
    slip: Encoded
    series: dict[str, Series]
    errors: dict[str, int]
    received_bytes: int = 0

    @classmethod
    def merged(cls, parts: Sequence[Recording]) -> Self:
        """Put together what several generators saw in the same stretch of time."""
        names = sorted({name for part in parts for name in part.series})
        offered, dropped, unfinished, received = (
            sum(getattr(part, name) for part in parts) for name in ("offered", "dropped", "unfinished", "received_bytes")
        )
        return cls(
            parts[0].duration_s,
            offered,
            dropped,
            unfinished,
            Histogram.merged(part.slip for part in parts),
            {name: Series.merged([part.of(name) for part in parts]) for name in names},
            dict(sum((Counter(part.errors) for part in parts), Counter())),
            received,
        )

    @cached_property
    def all(self) -> Series:
        """Every request, whatever its name."""
        return Series.merged(list(self.series.values()))

    def of(self, name: str) -> Series:
        """Return the requests of a name; empty when there was none."""
        return self.all if name == ALL else self.series.get(name, Series())
