"""Numbers as text: as many digits as the figure deserves, and always its unit."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from loadtest.inference import Interval


def count(value: float) -> str:
    """Return a number with three digits, thousands apart: 0.25, 12.5, 1,250."""
    if not math.isfinite(value):
        return "-"
    if value == 0:
        return "0"
    digits = max(2 - math.floor(math.log10(abs(value))), 0)
    text = f"{round(value, digits):,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def rate(value: float) -> str:
    """Return a rate per second, without its unit."""
    return count(value)


def milliseconds(value: float) -> str:
    """Return a time: 0.25 ms, 12.5 ms, 2.1 s."""
    if not math.isfinite(value):
        return "no answer"
    return f"{count(value / 1000)} s" if value >= 1000 else f"{count(value)} ms"  # noqa: PLR2004 - a second


def ratio(interval: Interval) -> str:
    """Return "1.90 times [1.70 to 2.10]"."""
    return f"{interval.ratio:.2f} times [{interval.low:.2f} to {interval.high:.2f}]"


def percent(share: float) -> str:
    """Return a share as per cent: 0 %, 0.02 %, 12 %."""
    return f"{count(share * 100)} %"


def reasons(problems: Iterable[str]) -> str:
    """Return problems in one line: those that differ in their figures only stand there once, with how many there are."""
    kinds: dict[str, list[str]] = {}
    for problem in problems:
        kinds.setdefault(re.sub(r"[0-9.]+", "", problem), []).append(problem)
    return "; ".join(f"{texts[0]}{f' and {len(texts) - 1} more like this' if len(texts) > 1 else ''}" for texts in kinds.values())
