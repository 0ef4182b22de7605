"""Where does a server stop holding the objective? A search over rates that is the same for every server."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

# Up and down by this factor until the knee lies between two rates, then halfway until they are this near.
STRIDE = 1.4
NEAR = 1.1
LOWEST_PER_S = 1.0
# Where an earlier run tells about where the knee is: from a little below it, in smaller steps.
KNOWN_SHARE, KNOWN_STRIDE = 0.92, 1.2


@dataclass(frozen=True)
class Bounds:
    """How far a search may go. `steps`: so many at most when the knee lies between two of them, else `most_steps`."""

    start_per_s: float
    highest_per_s: float
    steps: int
    most_steps: int
    stride: float = STRIDE


def search(holds: Callable[[float], bool], bounds: Bounds) -> None:
    """Try rates around the knee; `holds` measures one and says whether the objective was met."""
    held, failed, tried = 0.0, math.inf, 0
    rate: float | None = min(max(bounds.start_per_s, LOWEST_PER_S), bounds.highest_per_s)
    while rate is not None and tried < (bounds.steps if held and failed < math.inf else bounds.most_steps):
        tried += 1
        if holds(rate):
            held = max(held, rate)
        else:
            failed = min(failed, rate)
        rate = _next(held, failed, bounds)


def _next(held: float, failed: float, bounds: Bounds) -> float | None:
    if held >= bounds.highest_per_s or failed <= LOWEST_PER_S:
        return None
    if failed == math.inf:
        return min(held * bounds.stride, bounds.highest_per_s)
    if held == 0.0:
        return max(failed / bounds.stride**2, LOWEST_PER_S)  # far above the knee the queue says little; come from below
    return None if failed / held <= NEAR else math.sqrt(held * failed)
