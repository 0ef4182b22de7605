"""The report of a run: one offline HTML file with a timeline for each fault, and the same figures as Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, select_autoescape

from loadtest.report.charts import BOTTOM, LEFT, RIGHT, TOP, WIDTH, Chart, Scale

HERE = Path(__file__).parent
STYLE = HERE.parents[0] / "loadtest" / "report" / "templates"
HEIGHT = 190

Record = Mapping[str, Any]


def write(records: Sequence[Record], folder: Path, command: str, machine: str) -> list[Path]:
    """Write faults.html and faults.md to `folder` and return their paths."""
    templates = Environment(
        loader=FileSystemLoader([HERE / "templates", STYLE]), autoescape=select_autoescape(["html.j2", "html"]), trim_blocks=True
    )
    context = {
        "records": [(record, charts(record)) for record in records],
        "classes": list(dict.fromkeys(record["worker_class"] for record in records)),
        "command": command,
        "machine": machine,
    }
    paths = []
    for name in ("faults.html", "faults.md"):
        path = folder / name
        path.write_text(templates.get_template(f"{name}.j2").render(context))
        paths.append(path)
    return paths


def charts(record: Record) -> list[Chart]:
    """Return the timelines of one fault: requests per second by outcome, and the p99 of each second."""
    return [_rates(record), _latency(record)]


def _frame(record: Record, kind: str, *, title: str, says: str, high: float, unit: str, log: bool = False) -> tuple[Chart, Scale, Scale]:
    chart = Chart(f"{kind}-{record['worker_class']}-{record['fault']}", title, says, HEIGHT)
    x = Scale(0, len(record["seconds"]), LEFT, WIDTH - RIGHT)
    y = Scale(0.001 if log else 0, high, HEIGHT - BOTTOM, TOP, log=log)
    for value in x.ticks():
        chart.add("text", text=f"{value:g}", x=x(value), y=HEIGHT - BOTTOM + 16, class_="tick middle")
    for value in y.ticks():
        chart.add("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y(value), y2=y(value), class_="grid")
        chart.add("text", text=f"{value:g}", x=LEFT - 6, y=y(value) + 4, class_="tick end")
    chart.add("text", text="seconds", x=(LEFT + WIDTH - RIGHT) / 2, y=HEIGHT - 6, class_="tick middle")
    middle = (TOP + HEIGHT - BOTTOM) / 2
    chart.add("text", text=unit, x=14, y=middle, transform=f"rotate(-90 14 {middle:.0f})", class_="tick middle")
    for moment, word in ((record["began_s"], "fault"), (record["ended_s"], "end")):
        if word == "fault" or record["ended_s"] > record["began_s"]:
            chart.add("line", x1=x(moment), x2=x(moment), y1=TOP, y2=HEIGHT - BOTTOM, class_="slo")
            chart.add("text", text=word, x=x(moment) + 3, y=TOP + 10, class_="tick")
    return chart, x, y


def _rates(record: Record) -> Chart:
    rows = record["seconds"]
    kinds = sorted({kind for row in rows for kind in row["errors"]})
    high = max((row["right"] + sum(row["errors"].values()) for row in rows), default=1) or 1
    failed = ", ".join(f"{count} {kind}" for kind, count in record["effect"]["failed"].items()) or "none"
    chart, x, y = _frame(
        record,
        "rates",
        title="Requests per second, by when they were due",
        says=f"{record['said']}. Failures: {failed}.",
        high=high,
        unit="requests/s",
    )
    width = max((x(1) - x(0)) - 0.6, 0.6)
    for row in rows:
        base = 0
        for number, count in enumerate((row["right"], *(row["errors"].get(kind, 0) for kind in kinds))):
            if count:
                top = y(base + count)
                chart.add("rect", x=x(row["at_s"]), y=top, width=width, height=y(base) - top, class_=f"fill{number % 6}")
                base += count
    chart.legend = [(0, "right answer"), *((number % 6, kind) for number, kind in enumerate(kinds, 1))]
    return chart


def _latency(record: Record) -> Chart:
    rows = [row for row in record["seconds"] if row["p99_s"] is not None and not math.isnan(row["p99_s"])]
    high = max((row["p99_s"] for row in rows), default=1.0)
    before, during = record["effect"]["p99_before_s"], record["effect"]["p99_during_s"]
    says = f"p99 {before * 1e3:.0f} ms before the fault, {during * 1e3:.0f} ms from then on, at most {record['effect']['slowest_s']:.2f} s."
    title = "p99 of the requests due in each second (seconds, logarithmic)"
    chart, x, y = _frame(record, "p99", title=title, says=says, high=max(high, 0.1), unit="s", log=True)
    points = [f"{x(row['at_s'] + 0.5):.1f} {y(max(row['p99_s'], 0.001)):.1f}" for row in rows]
    if len(points) > 1:
        chart.add("path", d="M" + "L".join(points), class_="line p99 stroke0")
    return chart
