"""Latencies in HdrHistogram form: three digits, mergeable, readable by any tool that knows the V2 encoding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
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

    def __init__(self, hdr: HdrHistogram | None = None) -> None:
        self._hdr = hdr or HdrHistogram(1, HIGHEST_US, SIGNIFICANT_DIGITS)

    @classmethod
    def of_seconds(cls, durations_s: Sequence[float] | NDArray[np.float64]) -> Self:
        """Return a histogram of these durations (seconds)."""
        histogram = cls()
        histogram.record_seconds(durations_s)
        return histogram

    @classmethod
    def decode(cls, text: str) -> Self:
        """Read what `encode` wrote; raises ValueError when it is something else."""
        return cls(_decoded(text))

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
        if not len(durations_s):
            return
        hdr = self._hdr
        whole_us = np.clip(np.rint(np.asarray(durations_s, dtype=np.float64) * 1e6), 1, HIGHEST_US).astype(np.int64)
        # HdrHistogram's own arithmetic (bucket by the highest bit, then the bits below it) for all values in one go: its
        # record_value() would need longer than the request that is recorded.
        bucket = np.frexp((whole_us | hdr.sub_bucket_mask).astype(np.float64))[1] - (hdr.sub_bucket_half_count_magnitude + 1)
        indices = ((bucket + 1) << hdr.sub_bucket_half_count_magnitude) + (whole_us >> bucket) - hdr.sub_bucket_half_count
        np.ctypeslib.as_array(hdr.counts)[:] += np.bincount(indices, minlength=hdr.counts_len).astype(np.uint64)
        hdr.total_count += len(whole_us)
        hdr.min_value = min(hdr.min_value, int(whole_us.min()))
        hdr.max_value = max(hdr.max_value, int(whole_us.max()))

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


@lru_cache(maxsize=8192)
def _decoded(text: str) -> HdrHistogram:
    """Return the decoded histogram; the judge looks at each several times, and nobody adds to a decoded one."""
    try:
        return HdrHistogram.decode(text)
    except Exception as error:  # the codec raises base64, zlib, struct and its own errors
        raise ValueError(f"not an HdrHistogram in V2 encoding ({error})") from error
