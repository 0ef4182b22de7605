"""The report of a run: Markdown, and the same as one offline HTML file with a timeline for each event."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from loadtest.report.chart import BOTTOM, LEFT, RIGHT, WIDTH, Chart, Scale
from loadtest.report.page import write_pages
from tools.reliability.judge.figures import EventFigures, SoakFigures
from tools.reliability.judge.growth import COUNTED
from tools.reliability.judge.timeline import SLOW_S, Second, seconds
from tools.reliability.records import Observation, Sample
from tools.reliability.report import words
from tools.reliability.report.words import MIB
from tools.stack.compose import ORDER

TEMPLATES = Path(__file__).parent / "templates"
HEIGHT = 214
TOP = 50  # the unit, and below it what begins and ends


def write(kind: str, events: Sequence[EventFigures], folder: Path) -> list[Path]:
    """Write `kind`.html and `kind`.md to `folder` and return their paths."""
    runs: dict[tuple[str, str], list[Observation]] = {}  # (machine, command) -> what was measured there
    for one in events:
        runs.setdefault((one.record.machine, one.record.command), []).append(one.record)
    template = TEMPLATES / ("events.md.j2" if kind in {"faults", "releases"} else f"{kind}.md.j2")
    filters = {name: getattr(words, name) for name in ("kinds", "last_failure", "mib", "ms", "said")}
    charts = soak_charts if kind == "soak" else event_charts
    return write_pages(template, folder / kind, filters, kind=kind, events=events, runs=runs, charts=charts, counted=COUNTED, slow_s=SLOW_S)


def event_charts(one: EventFigures) -> list[Chart]:
    """Return the timelines of one event: requests per second by outcome, and the p99 of each second."""
    load = one.record.loads[0]
    rows = seconds(one.requests, load.started_s, load.stopped_s)
    x = Scale(0, max(len(rows), 1), LEFT, WIDTH - RIGHT)
    return [_rates(one, rows, x), _waits(one, rows, x)]


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


def soak_charts(one: SoakFigures) -> list[Chart]:
    """Return one timeline for each thing, with a line for each container."""
    return [
        _soak_chart(one, "heap", "Heaps of each container", "MiB", lambda sample: sample.anonymous_bytes / MIB),
        _soak_chart(one, "files", "Open files of each container, sockets among them", "files", lambda sample: sample.files),
        _soak_chart(one, "disk", "Temporary files and log of each container", "MiB", lambda one: (one.temp_bytes + one.log_bytes) / MIB),
    ]


def _soak_chart(one: SoakFigures, kind: str, title: str, unit: str, value: Callable[[Sample], float]) -> Chart:
    lines: dict[str, dict[str, list[Sample]]] = {service: {} for service in ORDER}
    for sample in one.record.samples:
        lines.setdefault(sample.service, {}).setdefault(sample.container, []).append(sample)
    lines = {service: containers for service, containers in lines.items() if containers}
    highest = {service: max(value(sample) for line in containers.values() for sample in line) for service, containers in lines.items()}
    says = f"At most: {', '.join(f'{service} {most:.1f}' for service, most in highest.items()) or 'nothing was read'}."
    chart = Chart(f"{kind}-{one.record.worker_class}", title, says, HEIGHT)
    x = Scale(0, (one.record.ended_s - one.record.began_s) / 60, LEFT, WIDTH - RIGHT)
    y = Scale(0, max(highest.values(), default=1.0), HEIGHT - BOTTOM, TOP)
    chart.axis_x(x, "minutes")
    chart.axis_y(y, unit)
    for number, containers in enumerate(lines.values()):
        for line in containers.values():
            chart.line([(x(sample.at_s / 60), y(value(sample))) for sample in line], number)
    chart.legend = list(enumerate(lines))
    return chart
