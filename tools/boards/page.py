"""The boards as one page for a machine without Grafana: asked of Prometheus' API, drawn as the load test's report is, readable offline."""

import json
import re
import urllib.parse
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loadtest.report.chart import BOTTOM, LEFT, RIGHT, SERIES, TOP, Chart, Scale
from loadtest.report.page import write_pages
from tools.boards import BOARDS, Panel

TEMPLATE = Path(__file__).with_name("overview.md.j2")
POINTS = 120
UNITS = {"reqps": "requests/s", "ops": "1/s", "s": "seconds", "percentunit": "share", "bytes": "MB"}
Point = tuple[float, float]


class Prometheus:
    """Its API. `minutes`: so many until now."""

    def __init__(self, url: str, minutes: float) -> None:
        self.url, self.minutes, self.end = url, minutes, datetime.now(UTC)

    def ask(self, what: str, **parameters: Any) -> Any:
        """Return the data of an answer; OSError when there is none."""
        with urllib.request.urlopen(f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}", timeout=30) as answer:  # noqa: S310 - the user's
            return json.load(answer)["data"]

    def series(self, panel: Panel) -> list[tuple[str, list[Point]]]:
        """Return each series of a panel: its name, and its values by minutes before now, without those that are no number."""
        found, end, step = [], self.end.timestamp(), max(15, self.minutes * 60 / POINTS)
        of = 1e6 if panel.unit == "bytes" else 1
        for name, query in panel.queries.items():
            asked = query.replace("RATE", f"{max(60, round(4 * step))}s")
            for one in self.ask("query_range", query=asked, start=end - self.minutes * 60, end=end, step=step)["result"]:
                points = [((at - end) / 60, float(value) / of) for at, value in one["values"] if value not in {"NaN", "+Inf", "-Inf"}]
                named = re.fullmatch(r"\{\{(\w+)\}\}", name)
                label = one["metric"].get(named[1]) or "(none)" if named else name
                found += [(label, points)] if points else []
        return found


def draw(name: str, panel: Panel, series: list[tuple[str, list[Point]]], minutes: float) -> Chart:
    """Draw the first series; a line is broken where there was no value."""
    last = "; ".join(f"{label}: {points[-1][1]:.3g}" for label, points in series)
    chart = Chart(name, panel.title, f"{panel.says} Last: {last or 'no data'}.", key=panel.says if series else f"{panel.says} No data.")
    most = max((value for _, points in series for _, value in points), default=0)
    # 5 % more: at the corner the first number of one axis would lie over that of the other
    across, up = Scale(-minutes * 1.05, 0, LEFT, chart.width - RIGHT), Scale(0, most * 1.1 or 1, chart.height - BOTTOM, TOP)
    chart.axis_x(across, "minutes")
    chart.axis_y(up, UNITS.get(panel.unit, ""))
    for number, (label, points) in enumerate(series[:SERIES]):
        chart.legend.append((number, label))
        chart.line([(across(at), up(value)) for at, value in points], number)
        if len(points) == 1:
            chart.dots([(across(at), up(value)) for at, value in points], number)
    return chart


def write(target: Path, url: str, minutes: float) -> Path:
    """Write the page, and return where it is."""
    prometheus = Prometheus(url, minutes)
    alerts = sorted(prometheus.ask("alerts")["alerts"], key=lambda each: (each["state"], each["activeAt"]))
    boards = []
    for board in BOARDS:
        charts = [draw(f"{board.name}-{n}", panel, prometheus.series(panel), minutes) for n, panel in enumerate(board.panels)]
        boards.append((board, charts))
    return write_pages(TEMPLATE, target, {}, boards=boards, alerts=alerts, minutes=minutes, end=f"{prometheus.end:%Y-%m-%d %H:%M} UTC")[0]
