"""Where does a server stop holding the objective? A search over rates that is the same for every server."""

from __future__ import annotations

from collections.abc import Callable

from loadtest.knee import Outcome
from loadtest.records import Limits

# Up and down by this factor until the knee lies between two rates, then halfway until they are this near.
STRIDE = 1.4
NEAR = 1.1
LOWEST_PER_S = 1.0


def search(measure: Callable[[float], Outcome], start_per_s: float, limits: Limits, *, steps: int, highest_per_s: float) -> list[Outcome]:
    """Measure at most `steps` rates around the knee, beginning at `start_per_s`; returns them in the order measured."""
    seen: list[Outcome] = []
    held, failed = 0.0, float("inf")
    rate = min(max(start_per_s, LOWEST_PER_S), highest_per_s)
    while len(seen) < steps:
        outcome = measure(rate)
        seen.append(outcome)
        if outcome.holds(limits):
            held = max(held, rate)
        else:
            failed = min(failed, rate)
        following = _next(held, failed, highest_per_s)
        if following is None:
            break
        rate = following
    return seen


def _next(held: float, failed: float, highest_per_s: float) -> float | None:
    if held >= highest_per_s or failed <= LOWEST_PER_S:
        return None
    if failed == float("inf"):
        return min(held * STRIDE, highest_per_s)
    if held == 0.0:
        return max(failed / STRIDE**2, LOWEST_PER_S)  # far above the knee the queue says little; come from below
    return None if failed / held <= NEAR else float((held * failed) ** 0.5)
