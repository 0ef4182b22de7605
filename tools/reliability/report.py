"""The report of a run: one offline HTML file with a timeline for each event, and the same figures as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, select_autoescape

from loadtest.report.charts import BOTTOM, LEFT, RIGHT, TOP, WIDTH, Chart, Scale

HERE = Path(__file__).parent
STYLE = HERE.parents[1] / "loadtest" / "report" / "templates"
HEIGHT = 190
MIB = 2**20

Record = Mapping[str, Any]


def write(kind: str, records: Sequence[Record], folder: Path) -> list[Path]:
    """Write `kind`.html and `kind`.md ("faults" or "releases") to `folder` and return their paths."""
    context = {"title": f"{kind.capitalize()} under load", "kind": kind.removesuffix("s")}
    return render("timeline", folder / kind, [(record, charts(record)) for record in records], **context)


def render(template: str, path: Path, records: Sequence[tuple[Record, Sequence[Chart]]], **context: Any) -> list[Path]:
    """Write `path`.html and `path`.md from the templates of that name and return their paths; `records`: each with its charts."""
    templates = Environment(
        loader=FileSystemLoader([HERE / "templates", STYLE]), autoescape=select_autoescape(["html.j2", "html"]), trim_blocks=True
    )
    templates.globals |= {"ms": lambda value: "-" if value is None else f"{value * 1e3:.0f} ms"}
    templates.globals |= {"mib": lambda value: "-" if value is None else f"{round(value / MIB, 2) + 0.0:.2f}"}
    told = {name: list(dict.fromkeys(record[name[:-1]] for record, _ in records)) for name in ("commands", "machines")}
    paths = []
    for ending in ("html", "md"):
        written = path.with_name(f"{path.name}.{ending}")
        written.write_text(templates.get_template(f"{template}.{ending}.j2").render(**context, **told, records=records))
        paths.append(written)
    return paths


def charts(record: Record) -> list[Chart]:
    """Return the timelines of one event: requests per second by outcome, and the p99 of each second."""
    return [_rates(record), _latency(record)]


def _frame(record: Record, kind: str, *, title: str, says: str, high: float, unit: str, log: bool = False) -> tuple[Chart, Scale, Scale]:
    chart = Chart(f"{kind}-{record['worker_class']}-{record['event']}", title, says, HEIGHT)
    x = Scale(0, len(record["seconds"]), LEFT, WIDTH - RIGHT)
    y = Scale(0.001 if log else 0, high, HEIGHT - BOTTOM, TOP, log=log)
    axes(chart, x, y, across="seconds", up=unit)
    for moment, word in ((record["began_s"], "begin"), (record["ended_s"], "end")):
        if word == "begin" or record["ended_s"] > record["began_s"]:
            chart.add("line", x1=x(moment), x2=x(moment), y1=TOP, y2=HEIGHT - BOTTOM, class_="slo")
            chart.add("text", text=word, x=x(moment) + 3, y=TOP + 10, class_="tick")
    return chart, x, y


def axes(chart: Chart, x: Scale, y: Scale, *, across: str, up: str) -> None:
    """Draw the values of both scales, and their units."""
    for value in x.ticks():
        chart.add("text", text=f"{value:g}", x=x(value), y=HEIGHT - BOTTOM + 16, class_="tick middle")
    for value in y.ticks():
        chart.add("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y(value), y2=y(value), class_="grid")
        chart.add("text", text=f"{value:g}", x=LEFT - 6, y=y(value) + 4, class_="tick end")
    chart.add("text", text=across, x=(LEFT + WIDTH - RIGHT) / 2, y=HEIGHT - 6, class_="tick middle")
    middle = (TOP + HEIGHT - BOTTOM) / 2
    chart.add("text", text=up, x=14, y=middle, transform=f"rotate(-90 14 {middle:.0f})", class_="tick middle")


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
    rows = [row for row in record["seconds"] if row["p99_s"] is not None]
    high = max((row["p99_s"] for row in rows), default=1.0)
    seen = {name: "-" if value is None else f"{value * 1e3:.0f} ms" for name, value in record["effect"].items() if name.endswith("_s")}
    says = f"p99 {seen['p99_before_s']} before it began, {seen['p99_during_s']} from then on, at most {seen['slowest_s']}."
    title = "p99 of the requests due in each second (seconds, logarithmic)"
    chart, x, y = _frame(record, "p99", title=title, says=says, high=max(high, 0.1), unit="s", log=True)
    points = [f"{x(row['at_s'] + 0.5):.1f} {y(max(row['p99_s'], 0.001)):.1f}" for row in rows]
    if len(points) > 1:
        chart.add("path", d="M" + "L".join(points), class_="line p99 stroke0")
    return chart
