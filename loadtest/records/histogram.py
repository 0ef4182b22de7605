"""Latencies in HdrHistogram form: three digits, mergeable, readable by any tool that knows the V2 encoding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Self

import numpy as np
from hdrh.histogram import HdrHistogram
from numpy.typing import ArrayLike, NDArray
from pydantic import PlainSerializer, PlainValidator

# Three digits: a value is off by at most 0.1 %, well below any difference that a verdict is given on.
SIGNIFICANT_DIGITS = 3
# Longer than any timeout here. A larger value is counted as this one: losing it would flatter the percentiles.
HIGHEST_US = 600_000_000
_LAYOUT = HdrHistogram(1, HIGHEST_US, SIGNIFICANT_DIGITS)  # knows which value belongs to which index


class Histogram:
    """Counts of durations in whole microseconds, from 1 to HIGHEST_US. Only what occurred is held: a run has thousands of these."""

    def __init__(self, indices: ArrayLike = (), counts: ArrayLike = ()) -> None:
        self._indices, self._counts = np.asarray(indices, dtype=np.int64), np.asarray(counts, dtype=np.int64)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Histogram) and self.encode() == other.encode()

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def of_seconds(cls, durations_s: Sequence[float] | NDArray[np.float64]) -> Self:
        whole_us = np.clip(np.rint(np.asarray(durations_s, dtype=np.float64) * 1e6), 1, HIGHEST_US).astype(np.int64)
        # HdrHistogram's own arithmetic (bucket by the highest bit, then the bits below it) for all values in one go: its
        # record_value() would need longer than the request that is recorded.
        bucket = np.frexp((whole_us | _LAYOUT.sub_bucket_mask).astype(np.float64))[1] - (_LAYOUT.sub_bucket_half_count_magnitude + 1)
        indices = ((bucket + 1) << _LAYOUT.sub_bucket_half_count_magnitude) + (whole_us >> bucket) - _LAYOUT.sub_bucket_half_count
        return cls(*np.unique(indices, return_counts=True))

    @classmethod
    def decode(cls, text: str) -> Self:
        """Read what `encode` wrote; raises ValueError when it is something else."""
        try:
            counts = np.ctypeslib.as_array(HdrHistogram.decode(text).counts)
        except Exception as error:  # the codec raises base64, zlib, struct and its own errors
            raise ValueError(f"not an HdrHistogram in V2 encoding ({error})") from error
        indices = np.flatnonzero(counts)
        return cls(indices, counts[indices])

    @classmethod
    def merged(cls, histograms: Iterable[Histogram]) -> Self:
        """Return the sum of the counts: percentiles of several runs come from this, never from averaging."""
        parts = list(histograms)
        indices, places = np.unique(np.concatenate([[], *(part._indices for part in parts)]), return_inverse=True)  # noqa: SLF001 - of the same class
        return cls(indices, np.bincount(places, weights=np.concatenate([[], *(part._counts for part in parts)])))  # noqa: SLF001

    def encode(self) -> str:
        """Return the compressed V2 encoding, base64."""
        hdr = HdrHistogram(1, HIGHEST_US, SIGNIFICANT_DIGITS)
        if self.count:
            np.ctypeslib.as_array(hdr.counts)[self._indices] = self._counts
            hdr.total_count = self.count
            hdr.min_value, hdr.max_value = (hdr.get_value_from_index(int(self._indices[end])) for end in (0, -1))
        return str(hdr.encode(), "ascii")

    @property
    def count(self) -> int:
        return int(self._counts.sum())

    @property
    def mean_ms(self) -> float:
        """The mean in milliseconds; 0 when nothing was counted."""
        values_us = [_LAYOUT.get_value_from_index(int(index)) for index in self._indices]
        return float(np.average(values_us, weights=self._counts)) / 1e3 if self.count else 0.0

    def quantiles_ms(self, quantiles: Sequence[float]) -> list[float]:
        """Return the value at each quantile (0 to 1) in milliseconds; all 0 when nothing was counted."""
        if not self.count:
            return [0.0] * len(quantiles)
        wanted = np.clip(np.floor(np.asarray(quantiles) * self.count + 0.5), 1, self.count)
        found = self._indices[np.searchsorted(np.cumsum(self._counts), wanted)]
        return [_LAYOUT.get_highest_equivalent_value(_LAYOUT.get_value_from_index(int(index))) / 1e3 for index in found]

    def quantile_ms(self, quantile: float) -> float:
        """Return the value at one quantile (0 to 1) in milliseconds; 1 is the largest."""
        return self.quantiles_ms([quantile])[0]

    def share_above_ms(self, bound_ms: float) -> float:
        """Return the part of the durations that were longer; 0 when nothing was counted."""
        (bound,) = Histogram.of_seconds([bound_ms / 1e3])._indices  # noqa: SLF001 - of the same class
        return float(self._counts[self._indices > bound].sum()) / self.count if self.count else 0.0


# In a file it is the encoded text.
Encoded = Annotated[
    Histogram,
    PlainValidator(lambda value: value if isinstance(value, Histogram) else Histogram.decode(value)),
    PlainSerializer(Histogram.encode),
]
