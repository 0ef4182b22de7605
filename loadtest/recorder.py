"""What one generator saw: durations from the intended start and from the send, and what went wrong."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from loadtest.histogram import Histogram

# Raw durations kept per series before they are counted into histograms (32 bytes each). Counting in bulk costs a
# hundredth of counting one by one, and the generator's own time is part of what it measures.
FOLD_AT = 100_000

ALL = "all"  # the series that holds every request, whatever its name


@dataclass(slots=True)
class Series:
    """Requests of one name. `latency` counts from the intended start, `service` from the send; `failed` is latency of failures."""

    latency: Histogram = field(default_factory=Histogram)
    service: Histogram = field(default_factory=Histogram)
    failed: Histogram = field(default_factory=Histogram)

    def as_json(self) -> dict[str, str]:
        return {"latency": self.latency.encode(), "service": self.service.encode(), "failed": self.failed.encode()}

    @classmethod
    def from_json(cls, data: dict[str, str]) -> Series:
        return cls(*(Histogram.decode(data[name]) for name in ("latency", "service", "failed")))

    @classmethod
    def merged(cls, parts: list[Series]) -> Series:
        return cls(
            Histogram.merged(part.latency for part in parts),
            Histogram.merged(part.service for part in parts),
            Histogram.merged(part.failed for part in parts),
        )


@dataclass(frozen=True, slots=True)
class Recording:
    """A stretch of time as the generator saw it.

    offered: arrivals that were due, dropped ones included. dropped: not sent because the bound on requests in flight was
    reached. unfinished: without an answer when the run was ended. slip: send minus intended start, of planned requests.
    """

    duration_s: float
    offered: int
    dropped: int
    unfinished: int
    slip: Histogram
    series: dict[str, Series]
    errors: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        return {
            "duration_s": self.duration_s,
            "offered": self.offered,
            "dropped": self.dropped,
            "unfinished": self.unfinished,
            "slip": self.slip.encode(),
            "series": {name: series.as_json() for name, series in sorted(self.series.items())},
            "errors": dict(sorted(self.errors.items())),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Recording:
        """Read what `as_json` wrote; raises KeyError, TypeError or ValueError when it is something else."""
        series = {name: Series.from_json(part) for name, part in data["series"].items()}
        whole = {name: int(data[name]) for name in ("offered", "dropped", "unfinished")}
        errors = {str(kind): int(count) for kind, count in data["errors"].items()}
        return cls(duration_s=float(data["duration_s"]), slip=Histogram.decode(data["slip"]), series=series, errors=errors, **whole)

    @classmethod
    def merged(cls, parts: list[Recording]) -> Recording:
        """Put together what several generators saw at the same time."""
        names = sorted({name for part in parts for name in part.series})
        return cls(
            duration_s=max(part.duration_s for part in parts),
            offered=sum(part.offered for part in parts),
            dropped=sum(part.dropped for part in parts),
            unfinished=sum(part.unfinished for part in parts),
            slip=Histogram.merged(part.slip for part in parts),
            series={name: Series.merged([part.series[name] for part in parts if name in part.series]) for name in names},
            errors=dict(sum((Counter(part.errors) for part in parts), Counter())),
        )


class _Raw:
    """Durations in seconds that are not counted yet."""

    __slots__ = ("failed", "latency", "service")

    def __init__(self) -> None:
        self.latency, self.service, self.failed = array("d"), array("d"), array("d")

    def fold_into(self, series: Series) -> None:
        series.latency.record_seconds(self.latency)
        series.service.record_seconds(self.service)
        series.failed.record_seconds(self.failed)
        self.__init__()  # type: ignore[misc] # empty again


class Recorder:
    """Takes in one request at a time; times are readings of one clock in seconds (time.perf_counter).

    Visits that were due before `start` are left out: they belong to the warm-up.
    """

    def __init__(self) -> None:
        self.start(float("-inf"))

    def start(self, now_s: float) -> None:
        """Forget everything, and count from here on."""
        self._start_s = now_s
        self._raw: dict[str, _Raw] = {}
        self._series: dict[str, Series] = {}
        self._slips, self._slip = array("d"), Histogram()
        self._errors: Counter[str] = Counter()
        self._offered = self._dropped = self._unfinished = 0

    def counts(self, arrived_s: float) -> bool:
        """Say whether a visit that was due then belongs to what is measured."""
        return arrived_s >= self._start_s

    def arrival(self, due_s: float, *, dropped: bool) -> None:
        """Count an arrival that is due."""
        if self.counts(due_s):
            self._offered += 1
            self._dropped += dropped

    def answer(self, name: str, intended_s: float, sent_s: float, ended_s: float, error: str | None, *, planned: bool) -> None:
        """Count a request that ended; `error` is its kind, None for the right answer. `planned`: it was on the schedule."""
        raw = self._raw.get(name) or self._raw.setdefault(name, _Raw())
        if error is None:
            raw.latency.append(ended_s - intended_s)
            raw.service.append(ended_s - sent_s)
        else:
            raw.failed.append(ended_s - intended_s)
            self._errors[error] += 1
        if planned:
            self._slips.append(sent_s - intended_s)
        if len(raw.latency) >= FOLD_AT:
            self._fold()

    def gave_up(self, name: str, intended_s: float, now_s: float) -> None:
        """Count a request that had no answer when the run ended: it took at least this long, and it is a failure."""
        self._unfinished += 1
        self.answer(name, intended_s, intended_s, now_s, "no answer at the end", planned=False)

    def problem(self, kind: str) -> None:
        """Count something that went wrong outside a request."""
        self._errors[kind] += 1

    def recording(self, duration_s: float) -> Recording:
        """Return what was counted since `start`, which lasted `duration_s`."""
        self._fold()
        series = {**self._series, ALL: Series.merged(list(self._series.values()))}
        return Recording(duration_s, self._offered, self._dropped, self._unfinished, self._slip, series, dict(self._errors))

    def _fold(self) -> None:
        for name, raw in self._raw.items():
            raw.fold_into(self._series.setdefault(name, Series()))
        self._slip.record_seconds(self._slips)
        self._slips = array("d")
