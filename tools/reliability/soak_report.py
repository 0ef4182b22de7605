"""The report of a soak: what each container held over time, as one offline HTML file and as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from loadtest.report.charts import BOTTOM, LEFT, RIGHT, TOP, WIDTH, Chart, Scale
from tools.reliability.report import HEIGHT, MIB, axes, render
from tools.reliability.samples import COUNTED
from tools.stack.compose import ORDER

Record = Mapping[str, Any]
Row = Mapping[str, Any]


def write(records: Sequence[Record], folder: Path) -> list[Path]:
    """Write soak.html and soak.md to `folder` and return their paths."""
    return render("soak", folder / "soak", [(record, charts(record)) for record in records], title="Soak", counted=COUNTED)


def charts(record: Record) -> list[Chart]:
    """Return one timeline for each thing, with a line for each container."""
    rows = [dict(zip(record["columns"], values, strict=True)) for values in record["samples"]]
    return [
        _chart(record, rows, "heap", "Heaps of each container", "MiB", lambda row: row["anonymous_bytes"] / MIB),
        _chart(record, rows, "files", "Open files of each container, sockets among them", "files", lambda row: row["files"]),
        _chart(record, rows, "disk", "Temporary files and log of each container", "MiB", _disk_mib),
    ]


def _disk_mib(row: Row) -> float:
    return float(row["temp_bytes"] + row["log_bytes"]) / MIB


def _chart(record: Record, rows: Sequence[Row], kind: str, title: str, unit: str, value: Callable[[Row], float]) -> Chart:  # noqa: PLR0917
    services = [service for service in ORDER if any(row["service"] == service for row in rows)]
    highest = {service: max(value(row) for row in rows if row["service"] == service) for service in services}
    says = f"At most: {', '.join(f'{service} {most:.1f}' for service, most in highest.items())}."
    chart = Chart(f"{kind}-{record['worker_class']}", title, says, HEIGHT)
    x = Scale(0, record["lasted_s"] / 60, LEFT, WIDTH - RIGHT)
    y = Scale(0, max(highest.values(), default=1.0), HEIGHT - BOTTOM, TOP)
    axes(chart, x, y, across="minutes", up=unit)
    lines: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        lines.setdefault((row["service"], row["container"]), []).append(row)
    for (service, _), line in lines.items():
        number = services.index(service)
        points = [f"{x(row['at_s'] / 60):.1f} {y(value(row)):.1f}" for row in line]
        if len(points) > 1:
            chart.add("path", d="M" + "L".join(points), class_=f"line stroke{number} dash{number}")
    chart.legend = list(enumerate(services))
    return chart
