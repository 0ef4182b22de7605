"""Charts as plain shapes: where things stand is worked out here, how they look is the style sheet's business.

Every chart has a title and a sentence that says what it shows, for those who do not see it; series differ in shape and
dash as well as in colour. A chart is as wide as a phone, and shown no wider than that: its text is never scaled up or down.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup, escape

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 360, 58, 28, 30, 42
CHARACTER, LINE = 7.2, 16  # what a character of a label takes at most, and a line of them
SERIES = 6  # as many colours as the style sheet has


@dataclass
class Chart:
    """A drawing with its words. `legend`: (series number, name). `key`: what is to be seen beside the series."""

    id: str
    title: str
    description: str
    height: int = 300
    width: int = WIDTH
    legend: list[tuple[int, str]] = field(default_factory=list)
    key: str = ""
    shapes: list[Markup] = field(default_factory=list)

    def add(self, tag: str, *, text: str = "", **attributes: Any) -> None:
        """Add an element; `class_` and names with _ become class and names with -."""
        named = "".join(f' {name.rstrip("_").replace("_", "-")}="{escape(_round(value))}"' for name, value in attributes.items())
        self.shapes.append(Markup(f"<{tag}{named}>{escape(text)}</{tag}>"))  # noqa: S704 - everything in it is escaped

    def label(self, text: str, x: float, y: float, class_: str = "tick") -> None:
        self.add("text", text=text, x=x, y=y, class_=class_)

    def line(self, points: Sequence[tuple[float, float]], series: int, kind: str = "p99") -> None:
        if len(points) > 1:
            dash = f" dash{series % 4}" if kind == "p99" else ""
            self.add("path", d="M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points), class_=f"line {kind} stroke{series % SERIES}{dash}")

    def dots(self, points: Iterable[tuple[float, float]], series: int, kind: str = "mark") -> None:
        """Draw all markers of a series as one path: hundreds of single elements would make the file large."""
        if path := "".join(f"M{x:.1f} {y:.1f}{MARKERS[series % len(MARKERS)]}" for x, y in points):
            self.add("path", d=path, class_=f"dots {kind} {'stroke' if kind == 'missed' else 'fill'}{series % SERIES}")

    def bars(self, boxes: Iterable[tuple[float, float, float, float]], series: int, kind: str = "bar") -> None:
        """Draw all bars of a series, each (x, y, width, height), as one path."""
        if path := "".join(f"M{x:.1f} {y:.1f}h{width:.1f}v{height:.1f}h{-width:.1f}z" for x, y, width, height in boxes):
            self.add("path", d=path, class_=f"{kind} fill{series % SERIES}")

    def axis_x(self, scale: Scale, unit: str) -> None:
        bottom = self.height - BOTTOM
        for value in scale.ticks(lambda text: len(text) * CHARACTER + 6):
            self.add("line", x1=scale(value), x2=scale(value), y1=TOP, y2=bottom, class_="grid")
            self.label(tick(value), scale(value), bottom + 16, "tick middle")
        self.label(unit, (scale.start + scale.end) / 2, self.height - 6, "tick middle")

    def axis_y(self, scale: Scale, unit: str) -> None:
        for value in scale.ticks(lambda _: LINE):
            self.add("line", x1=LEFT, x2=self.width - RIGHT, y1=scale(value), y2=scale(value), class_="grid")
            self.label(tick(value), LEFT - 6, scale(value) + 4, "tick end")
        self.label(unit, 2, 11)


# Around the point that they mark.
MARKERS = ("m-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0", "m-3-3h6v6h-6z", "m0-4l4 7h-8z", "m0-4.5l4.5 4.5l-4.5 4.5l-4.5-4.5z")


class Scale:
    """From a value to a place: linear, or logarithmic."""

    def __init__(self, low: float, high: float, start: float, end: float, *, log: bool = False) -> None:
        self.low, self.high, self.log = low, max(high, low * 1.0001 + 1e-9), log
        self.start, self.end = start, end

    def __call__(self, value: float) -> float:
        turn: Callable[[float], float] = math.log if self.log else float
        low, high = turn(self.low), turn(self.high)
        part = (turn(min(max(value, self.low), self.high)) - low) / (high - low)
        return self.start + part * (self.end - self.start)

    def ticks(self, needs: Callable[[str], float]) -> list[float]:
        """Return round values on the scale: as many as have room; `needs`: the room of a label."""
        for values in self._round_values():
            pairs = itertools.pairwise(values)
            if all(abs(self(b) - self(a)) >= (needs(tick(a)) + needs(tick(b))) / 2 for a, b in pairs):
                return values
        return []

    def _round_values(self) -> Iterator[list[float]]:
        """Yield the candidates, from many to none."""
        if self.log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            lists = [[step * 10.0**power for power in decades for step in steps] for steps in ((1, 2, 5), (1, 3), (1,))]
            lists += [lists[-1][::2], lists[-1][::3]]
        else:
            step = 10 ** math.floor(math.log10((self.high - self.low) / 4))
            sizes = [step * factor for factor in (1, 2, 5, 10, 20) if (self.high - self.low) / (step * factor) <= 6]  # noqa: PLR2004
            lists = [[size * n for n in range(math.ceil(self.low / size), math.floor(self.high / size) + 1)] for size in sizes]
        yield from ([value for value in values if self.low <= value <= self.high] for values in lists)


def tick(value: float) -> str:
    """Return a round value: 0.2, 1,000."""
    return f"{value:,.10g}"


def _round(value: Any) -> Any:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else value
