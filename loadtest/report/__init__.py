"""Print what was judged: Markdown, the same as one offline HTML file, JSON, and a picture. It reads records, never a clock."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

from markupsafe import Markup
from pydantic import TypeAdapter

from loadtest.judge.answers import Answer, RunAnswers, answer_run
from loadtest.records.model import FORMAT
from loadtest.records.store import RunError, Store
from loadtest.report import charts, words
from loadtest.report.chart import Chart
from loadtest.report.page import TEMPLATES, svg, write_pages

_ANSWER: TypeAdapter[Answer] = TypeAdapter(Answer)
_FILTERS = {name: getattr(words, name) for name in ("bound", "count", "milliseconds", "percent", "ratio", "reasons", "note")}


def make_report(store: Store) -> list[Path]:
    """Write the files beside the records, and return their paths; raises RunError for a run that cannot be read."""
    manifest, cells = store.manifest(), store.cells()
    if not cells:
        raise RunError(f"{store.folder} has no cells any more", "its report.md is what was kept", 2)
    judged = answer_run(manifest, cells)
    context = {
        "manifest": judged.manifest,
        "judged": judged,
        "words": words,
        "of_answer": charts.of_answer,
        "validity": {work: list(own) for work, own in groupby(judged.cells, key=lambda one: one.cell.workload)},
    }
    pages = write_pages(TEMPLATES / "report.md.j2", store.folder / "report", _FILTERS, **context)
    return [*pages, store.write("summary.json", summary(judged)), store.write("overview.svg", picture(judged))]


def summary(judged: RunAnswers) -> str:
    """Return the answers as JSON, for programs; what cannot be said is null. Curves and single steps are in the cells."""
    plan = judged.manifest
    left_out: Any = {
        "workload": True,
        "candidates": {"__all__": {"search": True, "rates": {"__all__": {"curve_ms"}}, "candidate": {"settings", "expect", "on_request"}}},
    }
    workloads = {}
    for answer in judged.answers:
        told = _ANSWER.dump_python(answer, mode="json", exclude=left_out)
        workloads[answer.workload.name] = {"slo_ms": answer.workload.slo_ms, "sentence": words.sentence(plan, answer), **told}
    names = ("run", "synthetic", "created", "command", "profile", "gives_verdict", "seed", "blocks", "margin", "confidence", "machine")
    runs = {"all": len(judged.cells), "invalid": sum(bool(one.invalid) for one in judged.cells), "missing": judged.missing}
    facts = {"format": FORMAT, **{name: getattr(plan, name) for name in names}, "runs": runs, "workloads": workloads}
    return TypeAdapter(dict[str, Any]).dump_json(facts).decode() + "\n"


def picture(judged: RunAnswers) -> str:
    """Return the overview as a picture that stands alone, for a README."""
    chart = charts.overview(judged)
    if not chart:
        chart = Chart("overview", "Nothing to compare", "No server could be compared with the baseline.", 40, charts.OVERVIEW_WIDTH)
        chart.label(chart.description, 8, 24)
    style = Markup("<style>{}</style>").format(Markup((TEMPLATES / "chart.css").read_text()))  # noqa: S704 - our own file
    return str(svg(chart, Markup('xmlns="http://www.w3.org/2000/svg" aria-labelledby="overview-desc"'), style)) + "\n"
