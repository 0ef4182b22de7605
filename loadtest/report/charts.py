"""The charts of a load test."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from loadtest.judge.answers import Answer, CandidateAnswer, RunAnswers
from loadtest.judge.inference import Interval
from loadtest.judge.slices import JudgedSlice
from loadtest.report.chart import BOTTOM, LEFT, RIGHT, TOP, WIDTH, Chart, Scale
from loadtest.report.words import bound, count, interval, milliseconds, sentence

Row = tuple[str, Interval | None, Sequence[float]]  # name of a candidate, its figure, the blocks'

ROW, NAMES = 26, 76  # a row of a bar chart, and the room for the names beside it
OVERVIEW_WIDTH, OVERVIEW_LEFT, OVERVIEW_RIGHT = 720, 230, 90


def of_answer(judged: RunAnswers, answer: Answer) -> list[Chart]:
    """Return the charts of one workload: those for which there are figures."""
    own = [one for one in judged.slices if one.slice.workload == answer.workload.name and not one.problems]
    knees = {seen.candidate.name: list(seen.knees_per_s.values()) for seen in answer.candidates}
    throughputs: list[Row] = [(seen.candidate.name, seen.throughput, knees[seen.candidate.name]) for seen in answer.candidates]
    costs: list[Row] = [(seen.candidate.name, seen.cpu_us.get("server"), []) for seen in answer.candidates]
    starts = starts_min(judged)
    drawn = (
        intervals(f"throughput-{answer.workload.name}", "Throughput at the objective", "requests per second", throughputs),
        over_time(answer, own, starts, OFFERED),
        curve(answer),
        intervals(f"cpu-{answer.workload.name}", "CPU time of the server for one request", "microseconds", costs),
        over_time(answer, own, starts, COSTS),
    )
    return [chart for chart in drawn if chart]


def starts_min(judged: RunAnswers) -> list[float]:
    """Return when the blocks began, in minutes since the run did."""
    first: dict[int, float] = {}
    for one in judged.slices:
        first[one.slice.block] = min(first.get(one.slice.block, one.slice.at_s), one.slice.at_s)
    return [first[block] / 60 for block in sorted(first)]


def intervals(id_: str, title: str, unit: str, rows: Sequence[Row]) -> Chart | None:
    """One row for each candidate: bar and line for the interval, marks for its blocks."""
    shown = [(number, *row) for number, row in enumerate(rows) if row[1] or any(row[2])]
    if not shown:
        return None
    high = max(max([*single, found.high if found else 0.0]) for _, _, found, single in shown) * 1.05
    words = "; ".join(f"{name} {interval(found) if found else ', '.join(map(count, single))}" for _, name, found, single in shown)
    chart = Chart(id_, title, f"{unit}: {words}.", TOP + ROW * len(shown) + BOTTOM)
    scale = Scale(0, high, NAMES + 8, WIDTH - RIGHT)
    chart.axis_x(scale, unit)
    chart.key = "Bar: mean. Line: its interval." + (" Marks: blocks." if any(single for _, _, _, single in shown) else "")
    for row, (number, name, found, single) in enumerate(shown):
        y = TOP + ROW * (row + 0.5)
        chart.label(name, NAMES, y + 4, "label end")
        if found:
            chart.bars([(scale(0), y - 9, scale(found.ratio) - scale(0), 18)], number)
            chart.add("line", x1=scale(found.low), x2=scale(found.high), y1=y, y2=y, class_="interval")
        chart.dots([(scale(value), y) for value in single], number, "run")
    return chart


class Figure(NamedTuple):
    id: str
    title: str
    unit: str
    of: Callable[[JudgedSlice], float | None]


OFFERED = Figure("rates", "Every slice: what was offered", "offered requests per second", lambda one: one.slice.rate_per_s)
COSTS = Figure("costs", "Every slice: CPU time for one request", "microseconds", JudgedSlice.cpu_us)


def over_time(answer: Answer, slices: Sequence[JudgedSlice], starts: Sequence[float], figure: Figure) -> Chart | None:
    """A mark for each slice, in order of time: what drifts is seen, and so is what fresh processes change."""
    names = [seen.candidate.name for seen in answer.candidates]
    points = [(names.index(one.slice.candidate), one.slice.at_s / 60, value, one.holds) for one in slices if (value := figure.of(one))]
    if not points:
        return None
    chart = Chart(f"{figure.id}-{answer.workload.name}", figure.title, f"{len(points)} slices in {len(starts)} blocks of fresh processes.")
    x = Scale(0, max(at for _, at, _, _ in points) * 1.02, LEFT, WIDTH - RIGHT)
    y = Scale(min(p[2] for p in points) * 0.9, max(p[2] for p in points) * 1.1, chart.height - BOTTOM, TOP, log=True)
    chart.axis_x(x, "minutes")
    chart.axis_y(y, figure.unit)
    for start in starts:
        chart.add("line", x1=x(start), x2=x(start), y1=TOP, y2=chart.height - BOTTOM, class_="block")
    for number in range(len(names)):
        for held in (True, False):
            chart.dots([(x(at), y(value)) for n, at, value, h in points if (n, h) == (number, held)], number, "run" if held else "missed")
    chart.legend = list(enumerate(names))
    chart.key = "Filled: the objective was held. Empty: it was not. Dotted: fresh processes."
    return chart


def overview(judged: RunAnswers) -> Chart | None:
    """Every server against the baseline, under every workload: the picture that stands for a whole run."""
    base = judged.manifest.baseline
    rows: list[tuple[str, int, CandidateAnswer | None]] = []
    for answer in judged.answers:
        others = [(number, seen) for number, seen in enumerate(answer.candidates) if seen.candidate.name != base and seen.knees_per_s]
        rows += [(answer.workload.title, 0, None), *((seen.candidate.name, number, seen) for number, seen in others)]
    known = [found for _, _, seen in rows if seen and seen.against_baseline and (found := seen.against_baseline.interval)]
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
        found = seen.against_baseline.interval if seen.against_baseline else None
        if found:
            chart.add("line", x1=scale(found.low), x2=scale(found.high), y1=y, y2=y, class_=f"interval stroke{number}")
            chart.dots([(scale(found.ratio), y)], number)
        chart.label(f"{found.ratio:.2f}" if found else "cannot tell", OVERVIEW_WIDTH - OVERVIEW_RIGHT + 8, y + 4)
    return chart


def curve(answer: Answer) -> Chart | None:
    """Each server's own curve around its own knee: offered rate against latency, flat, then steep."""
    series = {n: [at for at in seen.curve if at.p99_ms or at.p50_ms] for n, seen in enumerate(answer.candidates)}
    flat = [at for own in series.values() for at in own]
    if not flat:
        return None
    slo, known = answer.workload.slo_ms, [value for at in flat for value in (at.p50_ms, at.p99_ms) if value]
    knees = "; ".join(f"{s.candidate.name} holds it up to {count(s.throughput.ratio)}/s" for s in answer.candidates if s.throughput)
    chart = Chart(f"latency-{answer.workload.name}", "Offered rate and latency", f"The objective is {milliseconds(slo)}. {knees}.")
    x = Scale(min(at.rate_per_s for at in flat) * 0.9, max(at.rate_per_s for at in flat) * 1.1, LEFT, WIDTH - RIGHT, log=True)
    y = Scale(max(min(known) * 0.8, 0.1), max(*known, slo) * 1.3, chart.height - BOTTOM, TOP, log=True)
    chart.axis_x(x, "offered requests per second")
    chart.axis_y(y, f"milliseconds (dashed, red: the objective, {milliseconds(slo)})")
    chart.add("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y(slo), y2=y(slo), class_="slo")
    for number, own in series.items():
        chart.line([(x(at.rate_per_s), y(at.p50_ms)) for at in own if at.p50_ms], number, "median")
        tail = [(x(at.rate_per_s), y(at.p99_ms)) for at in own if at.p99_ms]
        chart.line(tail, number)
        chart.dots(tail, number)
        if knee := answer.candidates[number].throughput:
            at, bottom = x(knee.ratio), chart.height - BOTTOM
            chart.add("line", x1=at, x2=at, y1=bottom, y2=bottom - 10, class_=f"knee stroke{number}")
    chart.legend = [(number, answer.candidates[number].candidate.name) for number, own in series.items() if own]
    chart.key = "With marks: p99. Thin and pale: median. Short thick bar on the axis: throughput at the objective."
    return chart
