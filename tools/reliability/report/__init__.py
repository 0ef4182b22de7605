"""The report of a run: Markdown, and the same as one offline HTML file with a timeline for each event."""

import math
from collections.abc import Sequence
from pathlib import Path

from loadtest.report.chart import BOTTOM, LEFT, RIGHT, WIDTH, Chart, Scale
from loadtest.report.page import write_pages
from tools.reliability.judge.figures import EventFigures
from tools.reliability.judge.growth import COUNTED
from tools.reliability.judge.timeline import SLOW_S, Second, seconds
from tools.reliability.records import Observation, Sample
from tools.reliability.report import words
from tools.reliability.report.words import MIB
from tools.stack.compose import ORDER

TEMPLATE = Path(__file__).with_name("events.md.j2")
HEIGHT = 214
TOP = 50  # the unit, and below it what begins and ends


def write(kind: str, events: Sequence[EventFigures], folder: Path) -> list[Path]:
    """Write `kind`.html and `kind`.md to `folder` and return their paths."""
    runs: dict[tuple[str, str], list[Observation]] = {}  # (machine, command) -> what was measured there
    for one in events:
        runs.setdefault((one.record.machine, one.record.command), []).append(one.record)
    filters = {name: getattr(words, name) for name in ("kinds", "mib", "ms", "said")}
    return write_pages(
        TEMPLATE, folder / kind, filters, kind=kind, events=events, runs=runs, charts=_charts, counted=COUNTED, slow_s=SLOW_S
    )


def _charts(one: EventFigures) -> list[Chart]:
    """Return the timelines of one event: requests per second by outcome, the p99 of each second, and heaps that were watched."""
    load = one.record.loads[0]
    rows = seconds(one.requests, load.started_s, load.stopped_s)
    x = Scale(0, max(len(rows), 1), LEFT, WIDTH - RIGHT)
    return [_rates(one, rows, x), _waits(one, rows, x), *([_heaps(one, x)] if one.record.samples else [])]


def _rates(one: EventFigures, rows: Sequence[Second], x: Scale) -> Chart:
    kinds = sorted({kind for row in rows for kind in row.errors})
    y = Scale(0, max((row.right + sum(row.errors.values()) for row in rows), default=1) or 1, HEIGHT - BOTTOM, TOP)
    says = f"{words.said(one)}. Failures: {words.kinds(one.effect.failed)}."
    chart = _timeline(one, "rates", "Requests per second, by when they were due", says)
    chart.axis_x(x, "seconds")
    chart.axis_y(y, "requests/s")
    base, width = [0] * len(rows), max(x(1) - x(0) - 0.4, 0.4)
    for number, kind in enumerate(["", *kinds]):
        tops = [below + (row.errors.get(kind, 0) if kind else row.right) for below, row in zip(base, rows, strict=True)]
        boxes = [(x(n), y(top), width, y(below) - y(top)) for n, (below, top) in enumerate(zip(base, tops, strict=True)) if top > below]
        chart.bars(boxes, number, "stack")
        base = tops
    chart.legend = list(enumerate(["right answer", *kinds]))
    _mark(chart, one, x)
    return chart


def _waits(one: EventFigures, rows: Sequence[Second], x: Scale) -> Chart:
    waits = [(row.at_s + 0.5, max(row.p99_s, 0.001)) for row in rows if not math.isnan(row.p99_s)]
    before, during, most = (words.ms(value) for value in (one.effect.p99_before_s, one.effect.p99_during_s, one.effect.slowest_s))
    says = f"p99 {before} before it began, {during} from then on, at most {most}."
    chart = _timeline(one, "p99", "p99 of the requests due in each second", says)
    y = Scale(0.001, max([*(wait_s for _, wait_s in waits), 0.1]), HEIGHT - BOTTOM, TOP, log=True)
    chart.axis_x(x, "seconds")
    chart.axis_y(y, "seconds, logarithmic")
    chart.line([(x(at_s), y(wait_s)) for at_s, wait_s in waits], 0)
    _mark(chart, one, x)
    return chart


def _timeline(one: EventFigures, kind: str, title: str, says: str) -> Chart:
    return Chart(f"{kind}-{one.record.worker_class}-{one.record.event}", title, says, HEIGHT)


def _mark(chart: Chart, one: EventFigures, x: Scale) -> None:
    """Draw when the event began and ended, over the bars and above them: the words at the outer sides, so that they never meet."""
    start_s = one.record.loads[0].started_s
    for moment_s, word, side, gap in ((one.record.began_s, "begin", "tick end", -3), (one.record.ended_s, "end", "tick", 3)):
        place = x(moment_s - start_s)
        chart.add("line", x1=place, x2=place, y1=TOP - 16, y2=HEIGHT - BOTTOM, class_="slo")
        chart.label(word, place + gap, TOP - 18, side)


def _heaps(one: EventFigures, x: Scale) -> Chart:
    lines: dict[str, dict[str, list[Sample]]] = {service: {} for service in ORDER}
    for sample in one.record.samples:
        lines[sample.service].setdefault(sample.container, []).append(sample)
    highest = {name: max(sample.heap_bytes for line in found.values() for sample in line) / MIB for name, found in lines.items() if found}
    says = f"At most: {', '.join(f'{service} {most:.1f}' for service, most in highest.items())}."
    chart = _timeline(one, "heap", "Heap of each container", says)
    y = Scale(0, max(highest.values()), HEIGHT - BOTTOM, TOP)
    chart.axis_x(x, "seconds")
    chart.axis_y(y, "MiB")
    for number, service in enumerate(highest):
        for line in lines[service].values():
            chart.line([(x(sample.at_s), y(sample.heap_bytes / MIB)) for sample in line], number)
    chart.legend = list(enumerate(highest))
    return chart
