"""The charts of a load test."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from loadtest.judge.answers import CURVE, Answer, AtRate, CandidateAnswer, RunAnswers
from loadtest.report.chart import BOTTOM, LEFT, RIGHT, TOP, WIDTH, Chart, Scale
from loadtest.report.words import bound, count, interval, milliseconds, percent, sentence

ROW, NAMES = 26, 76  # a row of a bar chart, and the room for the names beside it
OVERVIEW_WIDTH, OVERVIEW_LEFT, OVERVIEW_RIGHT = 720, 230, 90


def of_answer(answer: Answer) -> list[Chart]:
    """Return the charts of one workload: those for which there are figures."""
    # At the highest common rate that all candidates should carry: there the cost of a request is comparable.
    costs = [next((rate for rate in reversed(seen.rates) if rate.load < 1), None) for seen in answer.candidates]
    cpu, memory = ([getattr(cost, name) if cost else None for cost in costs] for name in ("cpu_ms_per_request", "memory_mib"))
    drawn = (
        throughput(answer),
        latency(answer),
        percentiles(answer),
        errors(answer),
        bars(answer, "cpu", "CPU time of the server for one request", "milliseconds", cpu),
        bars(answer, "memory", "Memory of the server", "MiB", memory),
    )
    return [chart for chart in drawn if chart]


def _rows(chart: Chart, names: Sequence[str], high: float, unit: str) -> tuple[Scale, list[float]]:
    """Give a chart a row for each name; return its scale, and where the rows are."""
    chart.height = TOP + ROW * len(names) + BOTTOM
    scale = Scale(0, high, NAMES + 8, WIDTH - RIGHT)
    chart.axis_x(scale, unit)
    middles = [TOP + ROW * (row + 0.5) for row in range(len(names))]
    for name, y in zip(names, middles, strict=True):
        chart.label(name, NAMES, y + 4, "label end")
    return scale, middles


def throughput(answer: Answer) -> Chart | None:
    """Rates at the objective: the mean with its interval, and every run as a dot."""
    rows = [(number, seen) for number, seen in enumerate(answer.candidates) if seen.knees_per_s]
    if not rows:
        return None
    high = max(max([*seen.knees_per_s.values(), seen.throughput.high if seen.throughput else 0]) for _, seen in rows) * 1.05
    runs = {seen.candidate.name: ", ".join(map(count, seen.knees_per_s.values())) for _, seen in rows}
    said = [f"{s.candidate.name} {interval(s.throughput) if s.throughput else runs[s.candidate.name]}" for _, s in rows]
    says = f"Requests per second: {'; '.join(said)}."
    names = [seen.candidate.name for _, seen in rows]
    chart = Chart(f"throughput-{answer.workload.name}", "Throughput at the objective", says)
    scale, places = _rows(chart, names, high, "requests per second")
    chart.key = "Bar: mean. Line: its interval. Marks: single runs."
    for (number, seen), y in zip(rows, places, strict=True):
        if mean := seen.throughput:
            chart.bars([(scale(0), y - 9, scale(mean.ratio) - scale(0), 18)], number)
            chart.add("line", x1=scale(mean.low), x2=scale(mean.high), y1=y, y2=y, class_="interval")
        chart.dots([(scale(value), y) for value in seen.knees_per_s.values()], number, "run")
    return chart


def overview(judged: RunAnswers) -> Chart | None:
    """Every server against the baseline, under every workload: the picture that stands for a whole run."""
    base = judged.manifest.baseline
    rows: list[tuple[str, int, CandidateAnswer | None]] = []
    for answer in judged.answers:
        others = [(number, seen) for number, seen in enumerate(answer.candidates) if seen.candidate.name != base and seen.knees_per_s]
        rows += [(answer.workload.title, 0, None), *((seen.candidate.name, number, seen) for number, seen in others)]
    known = [seen.against_baseline.interval for _, _, seen in rows if seen and seen.against_baseline]
    if not known:
        return None
    title = f"Throughput with p99 within the objective, as multiples of {base}'s"
    says = "; ".join(f"{answer.workload.name}: {sentence(judged.manifest, answer)}" for answer in judged.answers)
    height = TOP + ROW * len(rows) + BOTTOM
    chart = Chart("overview", title, says, height, OVERVIEW_WIDTH)
    low, high = min(1.0, *(one.low for one in known)) * 0.9, max(1.0, *(one.high for one in known)) * 1.1
    scale = Scale(low, high, OVERVIEW_LEFT, OVERVIEW_WIDTH - OVERVIEW_RIGHT, log=True)
    chart.axis_x(scale, f"times the throughput of {base} (lines: {bound(judged.manifest.confidence)} intervals)")
    chart.add("line", x1=scale(1), x2=scale(1), y1=TOP, y2=height - BOTTOM, class_="slo")
    for row, (name, number, seen) in enumerate(rows):
        y = TOP + ROW * (row + 0.5)
        if not seen:
            chart.label(name, 8, y + 4, "label strong")
            continue
        chart.label(name, OVERVIEW_LEFT - 12, y + 4, "label end")
        if pair := seen.against_baseline:
            found = pair.interval
            chart.add("line", x1=scale(found.low), x2=scale(found.high), y1=y, y2=y, class_=f"interval stroke{number}")
            chart.dots([(scale(found.ratio), y)], number)
        text = f"{seen.against_baseline.interval.ratio:.2f}" if seen.against_baseline else "cannot tell"
        chart.label(text, OVERVIEW_WIDTH - OVERVIEW_RIGHT + 8, y + 4)
    return chart


def latency(answer: Answer) -> Chart | None:
    """Offered rate against latency: flat, then steep."""
    points = {number: _by_rate(seen) for number, seen in enumerate(answer.candidates)}
    flat = [point for series in points.values() for point in series]
    if not flat:
        return None
    slo = answer.workload.slo_ms
    knees = "; ".join(f"{s.candidate.name} holds it up to {count(s.throughput.ratio)}/s" for s in answer.candidates if s.throughput)
    says = f"The p99 crosses {milliseconds(slo)} where a line crosses the dashed one. {knees}."
    chart = Chart(f"latency-{answer.workload.name}", "Offered rate and latency", says)
    x = Scale(min(p[0] for p in flat) * 0.9, max(p[0] for p in flat) * 1.1, LEFT, WIDTH - RIGHT, log=True)
    y = Scale(max(min(p[1] for p in flat) * 0.8, 0.1), max(*(p[2] for p in flat), slo) * 1.3, chart.height - BOTTOM, TOP, log=True)
    chart.axis_x(x, "offered requests per second")
    chart.axis_y(y, f"milliseconds (dashed, red: the objective, {milliseconds(slo)})")
    chart.add("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y(slo), y2=y(slo), class_="slo")
    for number, series in points.items():
        chart.line([(x(rate), y(p50)) for rate, p50, _ in series], number, "median")
        chart.line([(x(rate), y(p99)) for rate, _, p99 in series], number)
        chart.dots([(x(rate), y(p99)) for rate, _, p99 in series], number)
        if knee := answer.candidates[number].throughput:
            at, bottom = x(knee.ratio), chart.height - BOTTOM
            chart.add("line", x1=at, x2=at, y1=bottom, y2=bottom - 10, class_=f"knee stroke{number}")
    chart.legend = [(number, answer.candidates[number].candidate.name) for number in points if points[number]]
    chart.key = "With marks: p99. Thin and pale: median. Short thick bar on the axis: throughput at the objective."
    return chart


def _by_rate(seen: CandidateAnswer) -> list[tuple[float, ...]]:
    """Return (rate, p50, p99) of all valid steps, neighbours within 5 % put together (geometric means)."""
    steps = [*seen.search, *((at.rate_per_s, at.p50_ms, at.p99_ms) for at in seen.rates)]
    groups: list[list[tuple[float, ...]]] = []
    for step in sorted(step for step in steps if min(step) > 0 and math.isfinite(step[2])):
        if groups and step[0] <= groups[-1][0][0] * 1.05:
            groups[-1].append(step)
        else:
            groups.append([step])
    return [tuple(math.exp(sum(map(math.log, column)) / len(group)) for column in zip(*group, strict=True)) for group in groups]


def percentiles(answer: Answer) -> Chart | None:
    """Percentile curves laid over each other, at the highest common rate that is below every knee."""
    load = max((rate.load for seen in answer.candidates for rate in seen.rates if rate.load < 1), default=0.0)
    curves = {n: r.curve_ms for n, seen in enumerate(answer.candidates) for r in seen.rates if r.load == load and max(r.curve_ms) > 0}
    if not curves:
        return None
    names = [seen.candidate.name for seen in answer.candidates]
    tails = "; ".join(f"{names[n]} p50 {milliseconds(c[2])}, p99 {milliseconds(c[7])}" for n, c in curves.items())
    title = f"How slow are the slowest, at {bound(load)} of the weakest knee"
    chart = Chart(f"percentiles-{answer.workload.name}", title, f"{tails}.")
    low, high = min(min(c[1:]) for c in curves.values()), max(max(c) for c in curves.values())
    x = Scale(1, 10_000, LEFT, WIDTH - RIGHT, log=True)
    y = Scale(max(low * 0.8, 0.1), high * 1.2, chart.height - BOTTOM, TOP, log=True)
    for quantile in (0.5, 0.9, 0.99, 0.999, 0.9999):
        place = x(1 / (1 - quantile))
        chart.add("line", x1=place, x2=place, y1=TOP, y2=chart.height - BOTTOM, class_="grid")
        chart.label(f"{quantile * 100:g}%", place, chart.height - BOTTOM + 16, "tick middle")
    chart.label("of requests were faster", (LEFT + WIDTH - RIGHT) / 2, chart.height - 6, "tick middle")
    chart.axis_y(y, "milliseconds")
    for number, curve in curves.items():
        shown = [(x(1 / (1 - q)), y(value)) for q, value in zip(CURVE, curve, strict=True) if value > 0]
        chart.line(shown, number)
        chart.dots(shown[2::3], number)
    chart.legend = [(number, names[number]) for number in curves]
    return chart


def bars(answer: Answer, name: str, title: str, unit: str, values: Sequence[float | None]) -> Chart | None:
    """One bar for each candidate."""
    known = [(n, value) for n, value in enumerate(values) if value]
    if not known:
        return None
    names = [answer.candidates[n].candidate.name for n, _ in known]
    words = "; ".join(f"{own} {count(value)}" for own, (_, value) in zip(names, known, strict=True))
    high = max(value for _, value in known) * 1.2
    chart = Chart(f"{name}-{answer.workload.name}", title, f"{unit}: {words}.")
    scale, places = _rows(chart, names, high, unit)
    for (n, value), y in zip(known, places, strict=True):
        chart.bars([(scale(0), y - 8, scale(value) - scale(0), 16)], n)
        chart.label(count(value), scale(value) + 4, y + 4)
    return chart


def errors(answer: Answer) -> Chart | None:
    """Failures by kind, stacked: a share of everything that was offered at all common rates."""
    totals = [dict(_failures(seen.rates)) for seen in answer.candidates]
    kinds = sorted({kind for total in totals for kind in total})
    if not kinds:
        return None
    names = [seen.candidate.name for seen in answer.candidates]
    said = [f"{n} {', '.join(f'{kind} {percent(v)}' for kind, v in t.items()) or 'none'}" for n, t in zip(names, totals, strict=True)]
    high = max(sum(total.values()) for total in totals) * 100 * 1.1
    chart = Chart(f"errors-{answer.workload.name}", "Errors by kind, all rates together", f"{'; '.join(said)}.")
    scale, places = _rows(chart, names, high, "% of requests")
    for total, y in zip(totals, places, strict=True):
        start = 0.0
        for kind, share in total.items():
            chart.bars([(scale(start), y - 8, scale(start + share * 100) - scale(start), 16)], kinds.index(kind))
            start += share * 100
    chart.legend = [(number, kind) for number, kind in enumerate(kinds)]
    return chart


def _failures(rates: Sequence[AtRate]) -> Iterator[tuple[str, float]]:
    """Yield the share of each kind of failure, the largest first; weights are the requests of each rate."""
    total = sum(at.goodput_per_s * at.runs + sum(at.errors.values()) for at in rates) or 1.0
    kinds = {kind for at in rates for kind in at.errors}
    counts = {kind: sum(at.errors.get(kind, 0) for at in rates) for kind in kinds}
    yield from ((kind, number / total) for kind, number in sorted(counts.items(), key=lambda item: -item[1]))
