"""Latencies in HdrHistogram form: three digits, mergeable, readable by any tool that knows the V2 encoding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Self

import numpy as np
from hdrh.histogram import HdrHistogram
from numpy.typing import NDArray

# Three digits: a value is off by at most 0.1 %, well below any difference that a verdict is given on.
SIGNIFICANT_DIGITS = 3
# Longer than any timeout here. A larger value is counted as this one: losing it would flatter the percentiles.
HIGHEST_US = 600_000_000


class Histogram:
    """Counts of durations in whole microseconds, from 1 to HIGHEST_US."""

    def __init__(self) -> None:
        self._hdr = HdrHistogram(1, HIGHEST_US, SIGNIFICANT_DIGITS)

    @classmethod
    def of_seconds(cls, durations_s: Sequence[float] | NDArray[np.float64]) -> Self:
        """Return a histogram of these durations (seconds)."""
        histogram = cls()
        histogram.record_seconds(durations_s)
        return histogram

    @classmethod
    def decode(cls, text: str) -> Self:
        """Read what `encode` wrote; raises ValueError when it is something else."""
        histogram = cls()
        try:
            histogram._hdr.decode_and_add(text)
        except Exception as error:  # the codec raises base64, zlib, struct and its own errors
            raise ValueError(f"not an HdrHistogram in V2 encoding ({error})") from error
        return histogram

    @classmethod
    def merged(cls, histograms: Iterable[Histogram]) -> Self:
        """Return the sum of the counts: percentiles of several runs come from this, never from averaging."""
        total = cls()
        for histogram in histograms:
            if histogram.count:
                total._hdr.add(histogram._hdr)  # noqa: SLF001 - of the same class
        return total

    def encode(self) -> str:
        """Return the compressed V2 encoding, base64."""
        encoded = self._hdr.encode()
        return encoded.decode("ascii") if isinstance(encoded, bytes) else str(encoded)

    def record_seconds(self, durations_s: Sequence[float] | NDArray[np.float64]) -> None:
        """Count these durations (seconds)."""
        whole_us = np.clip(np.rint(np.asarray(durations_s, dtype=np.float64) * 1e6), 1, HIGHEST_US).astype(np.int64)
        for value, count in zip(*np.unique(whole_us, return_counts=True), strict=True):
            self._hdr.record_value(int(value), int(count))

    @property
    def count(self) -> int:
        """How many durations were counted."""
        return int(self._hdr.total_count)

    @property
    def max_ms(self) -> float:
        """The largest duration in milliseconds; 0 when nothing was counted."""
        return float(self._hdr.get_highest_equivalent_value(self._hdr.max_value)) / 1e3 if self.count else 0.0

    @property
    def mean_ms(self) -> float:
        """The mean in milliseconds; 0 when nothing was counted."""
        indices, counts = self._recorded()
        return float((self._values_us(indices) * counts).sum() / counts.sum() / 1e3) if self.count else 0.0

    def quantiles_ms(self, quantiles: Sequence[float]) -> list[float]:
        """Return the value at each quantile (0 to 1) in milliseconds; all 0 when nothing was counted."""
        if not self.count:
            return [0.0] * len(quantiles)
        indices, counts = self._recorded()
        wanted = np.clip(np.floor(np.asarray(quantiles) * self.count + 0.5), 1, self.count)
        found = indices[np.searchsorted(np.cumsum(counts), wanted)]
        return [float(self._hdr.get_highest_equivalent_value(self._hdr.get_value_from_index(int(i)))) / 1e3 for i in found]

    def quantile_ms(self, quantile: float) -> float:
        """Return the value at one quantile (0 to 1) in milliseconds."""
        return self.quantiles_ms([quantile])[0]

    def _recorded(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        counts = np.ctypeslib.as_array(self._hdr.counts).astype(np.int64)
        indices = np.flatnonzero(counts)
        return indices, counts[indices]

    def _values_us(self, indices: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.array([self._hdr.get_value_from_index(int(i)) for i in indices], dtype=np.float64)
