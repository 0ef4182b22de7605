"""Takes in one request at a time, and makes a recording of it."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from typing import NamedTuple

from loadtest.records.histogram import Histogram
from loadtest.records.recording import Recording, Series


class _Durations(NamedTuple):
    """In seconds, 8 bytes each; counted into histograms in bulk, which costs a hundredth of counting one by one."""

    latency: array[float]
    service: array[float]
    failed: array[float]


class Recorder:
    """Times are readings of one clock in seconds (time.perf_counter).

    Visits that were due before `start` are left out: they belong to the warm-up.
    """

    def __init__(self) -> None:
        self.start(float("-inf"))

    def start(self, now_s: float) -> None:
        """Forget everything, and count from here on."""
        self._start_s = now_s
        self._durations: defaultdict[str, _Durations] = defaultdict(lambda: _Durations(array("d"), array("d"), array("d")))
        self._slips = array("d")
        self._errors: Counter[str] = Counter()
        self._offered = self._dropped = self._unfinished = self.received_bytes = 0

    def counts(self, arrived_s: float) -> bool:
        """Say whether a visit that was due then belongs to what is measured."""
        return arrived_s >= self._start_s

    def arrival(self, due_s: float, *, dropped: bool) -> None:
        if self.counts(due_s):
            self._offered += 1
            self._dropped += dropped

    def answer(self, name: str, intended_s: float, sent_s: float, ended_s: float, error: str | None, *, planned: bool) -> None:
        """Count a request that ended; `error` is its kind, None for the right answer. `planned`: it was on the schedule."""
        durations = self._durations[name]
        if error is None:
            durations.latency.append(ended_s - intended_s)
            durations.service.append(ended_s - sent_s)
        else:
            durations.failed.append(ended_s - intended_s)
            self._errors[error] += 1
        if planned:
            self._slips.append(sent_s - intended_s)

    def gave_up(self, name: str, intended_s: float, now_s: float) -> None:
        """Count a request that had no answer when the run ended: it took at least this long, and it is a failure."""
        self._unfinished += 1
        self.answer(name, intended_s, intended_s, now_s, "no answer at the end", planned=False)

    def problem(self, kind: str) -> None:
        """Count something that went wrong outside a request."""
        self._errors[kind] += 1

    def recording(self, duration_s: float) -> Recording:
        """Return what was counted since `start`, which lasted `duration_s`."""
        series = {name: Series(*map(Histogram.of_seconds, durations)) for name, durations in sorted(self._durations.items())}
        slip = Histogram.of_seconds(self._slips)
        return Recording(duration_s, self._offered, self._dropped, self._unfinished, slip, series, dict(self._errors), self.received_bytes)
