"""The site as queues: each part has processors (or threads), and a request visits one part after the other. For docs/scale.md.

python -m tests.docs.queueing        prints the table of that page
"""

import heapq
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

# CPU of a page with a database read, in milliseconds, in the order of a request; docs/scale.md says from which measurement.
PAGE_MS = {"gateway": 0.25, "WAF": 0.26, "app": 1.60, "database": 0.10}
PAGE_BYTES = 7_422
CONNECTIONS = 2 * 8  # workers and threads of an app container with one processor
BUSY = 0.6  # of each processor, on average: the rest is for bursts, and for a zone that is lost
RATES = (1_000, 10_000, 100_000)


def visit(arrivals: Iterable[float], servers: int, service: Iterable[float], waiting: float = math.inf) -> Iterator[tuple[float, float]]:
    """Yield when each request came and when it left (never: refused): first come, first served; `waiting`: how many at most are inside."""
    free, inside = [0.0] * servers, list[float]()
    for came, takes in zip(arrivals, service, strict=True):
        while inside and inside[0] <= came:
            heapq.heappop(inside)
        if len(inside) >= waiting:
            yield came, math.inf
            continue
        left = max(came, heapq.heappop(free)) + takes
        heapq.heappush(free, left)
        heapq.heappush(inside, left)
        yield came, left


def arrivals(rate: float, requests: int, seed: int = 1) -> np.ndarray:
    """At random moments (Poisson), in seconds."""
    return np.cumsum(np.random.default_rng(seed).exponential(1 / rate, requests))


def latency_ms(rate: float, parts: Sequence[tuple[int, float]], requests: int = 40_000) -> np.ndarray:
    """Return how long each request takes through parts (servers, milliseconds) one after the other; services vary by a third."""
    random, first = np.random.default_rng(2), arrivals(rate, requests)
    inside = first
    for servers, ms in parts:
        shape = 9  # of a gamma distribution: its deviation is a third of its mean
        inside = np.array([left for _, left in visit(np.sort(inside), servers, random.gamma(shape, ms / 1000 / shape, requests))])
    took: np.ndarray = (np.sort(inside) - first)[requests // 10 :] * 1000
    return took


def refused(rate: float, peak: float, in_flight: int, requests: int = 40_000) -> float:
    """Return the share of requests that find `in_flight` others in a site that answers `peak` a second."""
    all_of = list(visit(arrivals(rate, requests), 1, [1 / peak] * requests, in_flight))
    return sum(math.isinf(left) for _, left in all_of) / requests


def processors(rate: float) -> dict[str, int]:
    """Return how many each part needs."""
    return {part: max(1, math.ceil(rate * ms / 1000 / BUSY)) for part, ms in PAGE_MS.items()}


def rows() -> Iterator[str]:
    """Yield the rows of the page's table."""
    for rate in RATES:
        needed = processors(rate)
        took = latency_ms(rate, [(needed[part], ms) for part, ms in PAGE_MS.items()])
        traffic = rate * PAGE_BYTES * 8 / 1e9
        counts = " | ".join(f"{count:,}" for count in [*needed.values(), needed["app"] * CONNECTIONS])
        yield f"| {rate:,} | {counts} | {traffic:.2g} Gbit/s | {np.percentile(took, 99):.0f} ms |"


if __name__ == "__main__":
    print(*rows(), sep="\n")
