"""Print what was judged: Markdown, the same as one offline HTML file, JSON, and a picture. It reads records, never a clock."""

from collections import Counter
from collections.abc import Iterator
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
    manifest, records = store.manifest(), store.records()
    if not records:
        raise RunError(f"{store.folder} holds no record: nothing was measured", "begin a new run", 2)
    judged = answer_run(manifest, records)
    context = {
        "manifest": manifest,
        "judged": judged,
        "words": words,
        "of_answer": charts.of_answer,
        "blocks": len(charts.starts_min(judged)),
        "minutes": max((one.at_s for one in records), default=0.0) / 60,
        "validity": list(validity(judged)),
        "left_out": [one for one in judged.slices if one.problems],
    }
    pages = write_pages(TEMPLATES / "report.md.j2", store.folder / "report", _FILTERS, **context)
    return [*pages, store.write("summary.json", summary(judged)), store.write("overview.svg", picture(judged))]


def validity(judged: RunAnswers) -> Iterator[tuple[str, int, int, dict[str, int]]]:
    """Yield for each workload how many slices there are, how many are left out, and how often each reason was met."""
    for work in judged.manifest.workloads:
        own = [one for one in judged.slices if one.workload == work]
        reasons = Counter(problem.gate.value for one in own for problem in one.problems)
        yield work.name, len(own), sum(bool(one.problems) for one in own), dict(reasons.most_common())


def summary(judged: RunAnswers) -> str:
    """Return the answers as JSON, for programs; what cannot be said is null. Single slices are in the records."""
    plan = judged.manifest
    left_out: Any = {"workload": True, "candidates": {"__all__": {"candidate": {"settings", "expect", "on_request", "origin", "limit"}}}}
    workloads = {}
    for answer in judged.answers:
        told = _ANSWER.dump_python(answer, mode="json", exclude=left_out)
        workloads[answer.workload.name] = {"slo_ms": answer.workload.slo_ms, "sentence": words.sentence(plan, answer), **told}
    names = ("run", "synthetic", "created", "command", "profile", "gives_verdict", "seed", "pace", "margin", "confidence", "machine")
    slices = {"all": len(judged.slices), "invalid": sum(bool(one.problems) for one in judged.slices)}
    facts = {"format": FORMAT, **{name: getattr(plan, name) for name in names}, "slices": slices, "workloads": workloads}
    return TypeAdapter(dict[str, Any]).dump_json(facts).decode() + "\n"


def picture(judged: RunAnswers) -> str:
    """Return the overview as a picture that stands alone, for a README."""
    chart = charts.overview(judged)
    if not chart:
        chart = Chart("overview", "Nothing to compare", "No server could be compared with the baseline.", 40, charts.OVERVIEW_WIDTH)
        chart.label(chart.description, 8, 24)
    style = Markup("<style>{}</style>").format(Markup((TEMPLATES / "chart.css").read_text()))  # noqa: S704 - our own file
    return str(svg(chart, Markup('xmlns="http://www.w3.org/2000/svg" aria-labelledby="overview-desc"'), style)) + "\n"
