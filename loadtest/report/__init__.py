"""Print what was judged: one offline HTML file, Markdown, JSON and a picture with the same figures. It reads records, never a clock."""

from __future__ import annotations

from pathlib import Path

from loadtest.report.summary import summary_json
from loadtest.report.view import environment, view
from loadtest.store import Store
from loadtest.verdicts import Results, results

FILES = ("report.html", "report.md", "summary.json", "overview.svg")


def make_report(store: Store) -> list[Path]:
    """Write the files beside the records, and return their paths; raises RunError for a run that cannot be read."""
    judged = results(store.manifest(), store.cells())
    return [store.write(name, text) for name, text in zip(FILES, render(judged), strict=True)]


def render(judged: Results) -> tuple[str, str, str, str]:
    """Return HTML, Markdown, JSON and SVG."""
    context, templates = view(judged), environment()
    html = templates.get_template("report.html.j2").render(context)
    markdown = templates.get_template("report.md.j2").render(context)
    picture = templates.get_template("overview.svg.j2").render(context)
    return html, markdown, summary_json(judged), picture
