"""Charts as plain shapes: where things stand is worked out here, how they look is the style sheet's business.

Every chart has a title and a sentence that says what it shows, for those who do not see it; series differ in shape and
dash as well as in colour.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from loadtest.inference import Interval
from loadtest.records import Manifest
from loadtest.report.words import count, milliseconds, rate
from loadtest.verdicts import CURVE, Answer, Seen

# Narrow, so that the text is still readable when a phone scales the drawing down.
WIDTH, LEFT, RIGHT, TOP, BOTTOM = 480, 64, 26, 12, 40
ROW = 34
OVERVIEW_WIDTH, OVERVIEW_LEFT, OVERVIEW_RIGHT, OVERVIEW_ROW = 720, 230, 80, 24
LOG_DECADES = (1, 2, 5)
MARKERS = ("circle", "square", "triangle", "diamond", "cross", "bar")


@dataclass(frozen=True)
class Shape:
    """One SVG element."""

    tag: str
    attributes: dict[str, Any]
    text: str = ""


@dataclass
class Chart:
    """A drawing with its words. `legend`: (series number, name)."""

    id: str
    title: str
    description: str
    height: int
    shapes: list[Shape] = field(default_factory=list)
    legend: list[tuple[int, str]] = field(default_factory=list)
    width: int = WIDTH

    def add(self, tag: str, *, text: str = "", **attributes: Any) -> None:
        """Add an element; `class_` and names with _ become class and names with -."""
        named = {name.rstrip("_").replace("_", "-"): _round(value) for name, value in attributes.items()}
        self.shapes.append(Shape(tag, named, text))


def _round(value: Any) -> Any:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else value


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

    def ticks(self) -> list[float]:
        """Return round values that lie on the scale, about five."""
        if self.log:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            steps = LOG_DECADES if last - first <= 3 else LOG_DECADES[:1]  # noqa: PLR2004 - more would overlap
            values = [step * 10.0**power for power in range(first, last + 1) for step in steps]
            return [value for value in values if self.low <= value <= self.high]
        step = 10 ** math.floor(math.log10((self.high - self.low) / 4))
        step *= next(factor for factor in (1, 2, 5, 10) if (self.high - self.low) / (step * factor) <= 6)  # noqa: PLR2004
        return [step * n for n in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]


def throughput(answer: Answer) -> Chart | None:
    """Rates at the objective: the mean with its interval, and every run as a dot."""
    rows = [(number, seen) for number, seen in enumerate(answer.seen) if seen.knees_per_s]
    if not rows:
        return None
    highest = max(max([*seen.knees_per_s.values(), seen.throughput.high if seen.throughput else 0]) for _, seen in rows)
    height = TOP + ROW * len(rows) + BOTTOM
    words = "; ".join(f"{seen.candidate.name} {_said(seen.throughput, seen.knees_per_s.values())}" for _, seen in rows)
    chart = Chart(f"throughput-{answer.workload.name}", "Throughput at the objective", f"Requests per second: {words}.", height)
    scale = Scale(0, highest * 1.05, LEFT + 20, WIDTH - RIGHT)
    _axis_x(chart, scale, "requests per second", height)
    for row, (number, seen) in enumerate(rows):
        y = TOP + ROW * (row + 0.5)
        chart.add("text", text=seen.candidate.name, x=LEFT + 8, y=y + 4, class_="label end")
        if seen.throughput:
            chart.add("rect", x=scale(0), y=y - 9, width=scale(seen.throughput.ratio) - scale(0), height=18, class_=f"bar fill{number}")
            chart.add("line", x1=scale(seen.throughput.low), x2=scale(seen.throughput.high), y1=y, y2=y, class_="interval")
        _dots(chart, [(scale(value), y) for value in seen.knees_per_s.values()], number, "run")
    return chart


def _said(interval: Interval | None, runs: Iterable[float]) -> str:
    return f"{rate(interval.ratio)} [{rate(interval.low)} to {rate(interval.high)}]" if interval else f"runs {', '.join(map(rate, runs))}"


def overview(manifest: Manifest, answers: Sequence[Answer]) -> Chart | None:
    """Every server against the baseline, under every workload: the picture that stands for a whole run."""
    rows: list[tuple[int, str, Interval | None]] = []
    for answer in answers:
        rows.append((-1, answer.workload.title, None))
        rows += [
            (number, seen.candidate.name, seen.against_baseline)
            for number, seen in enumerate(answer.seen)
            if seen.candidate.name != manifest.baseline and (seen.against_baseline or seen.knees_per_s)
        ]
    known = [interval for _, _, interval in rows if interval]
    if not known:
        return None
    says = "; ".join(f"{answer.workload.name}: {answer.sentence}" for answer in answers)
    title = f"Throughput with p99 within the objective, as multiples of {manifest.baseline}'s"
    height = TOP + OVERVIEW_ROW * len(rows) + BOTTOM
    chart = Chart("overview", title, says, height, width=OVERVIEW_WIDTH)
    low, high = min(1.0, *(one.low for one in known)) * 0.9, max(1.0, *(one.high for one in known)) * 1.1
    scale = Scale(low, high, OVERVIEW_LEFT, OVERVIEW_WIDTH - OVERVIEW_RIGHT, log=True)
    _axis_x(chart, scale, f"times the throughput of {manifest.baseline} (lines: {manifest.confidence:.0%} intervals)", height)
    chart.add("line", x1=scale(1), x2=scale(1), y1=TOP, y2=height - BOTTOM, class_="slo")
    for row, (number, name, interval) in enumerate(rows):
        y = TOP + OVERVIEW_ROW * (row + 0.5)
        if number < 0:
            chart.add("text", text=name, x=8, y=y + 4, class_="label strong")
            continue
        chart.add("text", text=name, x=OVERVIEW_LEFT - 12, y=y + 4, class_="label end")
        if interval:
            chart.add("line", x1=scale(interval.low), x2=scale(interval.high), y1=y, y2=y, class_=f"interval stroke{number}")
            _dots(chart, [(scale(interval.ratio), y)], number, "mark")
        text = f"{interval.ratio:.2f}" if interval else "cannot tell"
        chart.add("text", text=text, x=OVERVIEW_WIDTH - OVERVIEW_RIGHT + 8, y=y + 4, class_="tick")
    return chart


def hockey_stick(answer: Answer) -> Chart | None:
    """Offered rate against latency: flat, then steep. The line is the p99, the faint one the median."""
    points = {number: _by_rate(seen) for number, seen in enumerate(answer.seen)}
    flat = [point for series in points.values() for point in series]
    if not flat:
        return None
    height = 300
    slo = answer.workload.slo_ms
    knees = "; ".join(f"{s.candidate.name} holds it up to {rate(s.throughput.ratio)}/s" for s in answer.seen if s.throughput)
    says = f"The p99 crosses {milliseconds(slo)} where a line crosses the dashed one. {knees}."
    chart = Chart(f"latency-{answer.workload.name}", "Offered rate and latency", says, height)
    x = Scale(min(p[0] for p in flat) * 0.9, max(p[0] for p in flat) * 1.1, LEFT, WIDTH - RIGHT, log=True)
    y = Scale(max(min(p[1] for p in flat) * 0.8, 0.1), max(*(p[2] for p in flat), slo) * 1.3, height - BOTTOM, TOP, log=True)
    _axis_x(chart, x, "offered requests per second", height)
    _axis_y(chart, y, "milliseconds")
    chart.add("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y(slo), y2=y(slo), class_="slo")
    chart.add("text", text=f"objective {milliseconds(slo)}", x=LEFT + 6, y=y(slo) - 5, class_="tick")
    for number, series in points.items():
        _line(chart, [(x(r), y(p50)) for r, p50, _ in series], number, "median")
        _line(chart, [(x(r), y(p99)) for r, _, p99 in series], number, "p99")
        _dots(chart, [(x(r), y(p99)) for r, _, p99 in series], number, "mark")
        knee = answer.seen[number].throughput
        if knee:
            chart.add(
                "line", x1=x(knee.ratio), x2=x(knee.ratio), y1=height - BOTTOM, y2=height - BOTTOM - 10, class_=f"knee stroke{number}"
            )
    chart.legend = [(number, answer.seen[number].candidate.name) for number in points if points[number]]
    return chart


def _by_rate(seen: Seen) -> list[tuple[float, float, float]]:
    """Return (rate, p50, p99) of all valid steps, neighbours within 5 % put together (geometric means)."""
    steps = [(r, p50, p99) for r, p50, p99, _ in seen.search] + [(r.rate_per_s, r.p50_ms, r.p99_ms) for r in seen.rates]
    groups: list[list[tuple[float, float, float]]] = []
    for step in sorted(step for step in steps if min(step) > 0 and math.isfinite(step[2])):
        if groups and step[0] <= groups[-1][0][0] * 1.05:
            groups[-1].append(step)
        else:
            groups.append([step])
    return [tuple(math.exp(sum(map(math.log, column)) / len(group)) for column in zip(*group, strict=True)) for group in groups]  # type: ignore[misc]


def percentiles(answer: Answer) -> Chart | None:
    """Percentile curves laid over each other, at the highest common rate that is below every knee."""
    loads = sorted({rate.load for seen in answer.seen for rate in seen.rates if rate.load < 1})
    if not loads:
        return None
    load = loads[-1]
    curves = {n: r.curve_ms for n, seen in enumerate(answer.seen) for r in seen.rates if r.load == load and max(r.curve_ms) > 0}
    if not curves:
        return None
    height = 280
    tails = "; ".join(f"{answer.seen[n].candidate.name} p50 {milliseconds(c[2])}, p99 {milliseconds(c[7])}" for n, c in curves.items())
    title = f"How slow are the slowest, at {load:.0%} of the weakest knee"
    chart = Chart(f"percentiles-{answer.workload.name}", title, f"{tails}.", height)
    low, high = min(min(c[1:]) for c in curves.values()), max(max(c) for c in curves.values())
    x = Scale(1, 10_000, LEFT, WIDTH - RIGHT, log=True)
    y = Scale(max(low * 0.8, 0.1), high * 1.2, height - BOTTOM, TOP, log=True)
    for quantile in (0.5, 0.9, 0.99, 0.999, 0.9999):
        place = x(1 / (1 - quantile))
        chart.add("line", x1=place, x2=place, y1=TOP, y2=height - BOTTOM, class_="grid")
        chart.add("text", text=f"{quantile * 100:g}%", x=place, y=height - BOTTOM + 16, class_="tick middle")
    chart.add("text", text="of requests were faster", x=(LEFT + WIDTH - RIGHT) / 2, y=height - 6, class_="tick middle")
    _axis_y(chart, y, "milliseconds")
    for number, curve in curves.items():
        shown = [(x(1 / (1 - q)), y(value)) for q, value in zip(CURVE, curve, strict=True) if q < 1 and value > 0]
        _line(chart, shown, number, "p99")
        _dots(chart, shown[2::3], number, "mark")
    chart.legend = [(number, answer.seen[number].candidate.name) for number in curves]
    return chart


def ladder(answer: Answer) -> Chart | None:
    """Visitors without a pause against throughput, with the law that describes it where there is one."""
    climbed = {number: seen.ladder for number, seen in enumerate(answer.seen) if len(seen.ladder) > 1}
    if not climbed:
        return None
    height = 280
    words = "; ".join(_scales(answer.seen[number]) for number in climbed)
    chart = Chart(f"ladder-{answer.workload.name}", "Visitors without a pause, and throughput", f"{words}.", height)
    flat = [point for levels in climbed.values() for point in levels.items()]
    x = Scale(1, max(users for users, _ in flat) * 1.1, LEFT, WIDTH - RIGHT, log=True)
    y = Scale(0, max(rate for _, rate in flat) * 1.1, height - BOTTOM, TOP)
    _axis_x(chart, x, "visitors at once", height)
    _axis_y(chart, y, "answers per second")
    for number, levels in climbed.items():
        law, users = answer.seen[number].scaling, sorted(levels)
        if law:
            places = [users[0] * (users[-1] / users[0]) ** (step / 30) for step in range(31)]
            _line(chart, [(x(place), y(law.throughput_per_s(place))) for place in places], number, "p99")
        _dots(chart, [(x(n), y(levels[n])) for n in users], number, "mark")
    chart.legend = [(number, answer.seen[number].candidate.name) for number in climbed]
    return chart


def _scales(seen: Seen) -> str:
    best = max(seen.ladder, key=lambda users: seen.ladder[users])
    text = f"{seen.candidate.name} does most, {rate(seen.ladder[best])}/s, with {best} visitors"
    if not seen.scaling:
        return f"{text} (the law of scalability does not describe it)"
    peak = seen.scaling.peak_users
    where = f"the most with {count(peak)} visitors" if math.isfinite(peak) else "no fall"
    return f"{text} (law: {seen.scaling.contention:.1%} one at a time, {where}, R² {seen.scaling.r_squared:.2f})"


def bars(answer: Answer, name: str, title: str, unit: str, values: Sequence[float | None]) -> Chart | None:
    """One bar for each candidate."""
    known = [(n, value) for n, value in enumerate(values) if value is not None]
    if not known or max(value for _, value in known) <= 0:
        return None
    height = TOP + 26 * len(known) + BOTTOM
    words = "; ".join(f"{answer.seen[n].candidate.name} {count(value)}" for n, value in known)
    chart = Chart(f"{name}-{answer.workload.name}", title, f"{unit}: {words}.", height)
    scale = Scale(0, max(value for _, value in known) * 1.15, LEFT + 20, WIDTH - RIGHT)
    _axis_x(chart, scale, unit, height)
    for row, (n, value) in enumerate(known):
        y = TOP + 26 * (row + 0.5)
        chart.add("text", text=answer.seen[n].candidate.name, x=LEFT + 8, y=y + 4, class_="label end")
        chart.add("rect", x=scale(0), y=y - 8, width=scale(value) - scale(0), height=16, class_=f"bar fill{n}")
        chart.add("text", text=count(value), x=scale(value) + 4, y=y + 4, class_="tick")
    return chart


def errors(answer: Answer) -> Chart | None:
    """Failures by kind, stacked: a share of everything that was offered at all common rates."""
    totals = [_failures(seen) for seen in answer.seen]
    kinds = sorted({kind for total in totals for kind in total})
    if not kinds:
        return None
    height = TOP + 26 * len(totals) + BOTTOM
    words = [
        f"{s.candidate.name} " + (", ".join(f"{k} {v:.2%}" for k, v in t.items()) or "none")
        for s, t in zip(answer.seen, totals, strict=True)
    ]
    chart = Chart(f"errors-{answer.workload.name}", "Errors by kind, all rates together", "; ".join(words) + ".", height)
    scale = Scale(0, max(sum(total.values()) for total in totals) * 100 * 1.1, LEFT + 20, WIDTH - RIGHT)
    _axis_x(chart, scale, "% of requests", height)
    for row, total in enumerate(totals):
        y, start = TOP + 26 * (row + 0.5), 0.0
        chart.add("text", text=answer.seen[row].candidate.name, x=LEFT + 8, y=y + 4, class_="label end")
        for kind, share in total.items():
            place = scale(start * 100)
            chart.add(
                "rect", x=place, y=y - 8, width=scale((start + share) * 100) - place, height=16, class_=f"bar fill{kinds.index(kind) % 6}"
            )
            start += share
    chart.legend = [(number % 6, kind) for number, kind in enumerate(kinds)]
    return chart


def _failures(seen: Seen) -> dict[str, float]:
    """Return the share of each kind of failure; weights are the requests of each rate."""
    total = sum(rate.goodput_per_s * rate.runs + sum(rate.errors.values()) for rate in seen.rates) or 1.0
    kinds: dict[str, float] = {}
    for at in seen.rates:
        for kind, number in at.errors.items():
            kinds[kind] = kinds.get(kind, 0) + number / total
    return dict(sorted(kinds.items(), key=lambda item: -item[1]))


def _axis_x(chart: Chart, scale: Scale, unit: str, height: int) -> None:
    for value in scale.ticks():
        chart.add("line", x1=scale(value), x2=scale(value), y1=TOP, y2=height - BOTTOM, class_="grid")
        chart.add("text", text=count(value), x=scale(value), y=height - BOTTOM + 16, class_="tick middle")
    chart.add("text", text=unit, x=(scale.start + scale.end) / 2, y=height - 6, class_="tick middle")


def _axis_y(chart: Chart, scale: Scale, unit: str) -> None:
    for value in scale.ticks():
        chart.add("line", x1=LEFT, x2=WIDTH - RIGHT, y1=scale(value), y2=scale(value), class_="grid")
        chart.add("text", text=count(value), x=LEFT - 6, y=scale(value) + 4, class_="tick end")
    middle = (scale.start + scale.end) / 2
    chart.add("text", text=unit, x=14, y=middle, transform=f"rotate(-90 14 {middle:.0f})", class_="tick middle")


def _line(chart: Chart, points: Sequence[tuple[float, float]], series: int, kind: str) -> None:
    if len(points) > 1:
        path = "M" + "L".join(f"{px:.1f} {py:.1f}" for px, py in points)
        chart.add("path", d=path, class_=f"line {kind} stroke{series} dash{series % 4 if kind == 'p99' else 0}")


def _dots(chart: Chart, points: Sequence[tuple[float, float]], series: int, kind: str) -> None:
    """Draw all markers of a series as one path: hundreds of single elements would make the file large."""
    draw = _MARKS[series % len(_MARKS)]
    if points:
        chart.add("path", d="".join(draw(px, py) for px, py in points), class_=f"dots {kind} series{series}")


def _circle(x: float, y: float) -> str:
    return f"M{x - 3:.1f} {y:.1f}a3 3 0 1 0 6 0a3 3 0 1 0-6 0"


def _square(x: float, y: float) -> str:
    return f"M{x - 3:.1f} {y - 3:.1f}h6v6h-6z"


def _triangle(x: float, y: float) -> str:
    return f"M{x:.1f} {y - 4:.1f}l4 7h-8z"


def _diamond(x: float, y: float) -> str:
    return f"M{x:.1f} {y - 4.5:.1f}l4.5 4.5l-4.5 4.5l-4.5-4.5z"


_MARKS = (_circle, _square, _triangle, _diamond)
