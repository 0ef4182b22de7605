"""What the templates need, worked out once for HTML and Markdown."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from loadtest.inference import Verdict
from loadtest.report import charts
from loadtest.report.words import count, milliseconds, percent, rate, ratio, reasons
from loadtest.verdicts import Answer, AtRate, Check, Results, Seen, floor

TEMPLATES = Path(__file__).resolve().parent / "templates"
VERDICTS = {
    Verdict.HIGHER: "more",
    Verdict.LOWER: "less",
    Verdict.TIE: "tie",
    Verdict.UNDECIDED: "cannot tell",
    None: "-",
}


def environment() -> Environment:
    """Return the template environment: everything is escaped in HTML, and a missing name is an error."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(["html.j2", "svg.j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"reasons": reasons, "count": count, "rate": rate, "milliseconds": milliseconds, "ratio": ratio, "percent": percent}
    return made


def view(judged: Results) -> dict[str, Any]:
    """Return the context of both templates."""
    return {
        "manifest": judged.manifest,
        "missing": judged.missing,
        "sections": [_section(answer) for answer in judged.answers],
        "overview": charts.overview(judged.manifest, judged.answers),
        "heat": _heat(judged),
        "strip": _strip(judged.checks),
        "invalid": [check for check in judged.checks if check.problems],
        "verdict_words": VERDICTS,
        "floor_ms": floor(judged.manifest),
    }


def _section(answer: Answer) -> dict[str, Any]:
    # At the highest common rate that all candidates should carry: there the cost of a request is comparable.
    cost = [_below_knee(seen) for seen in answer.seen]
    drawn = [
        charts.throughput(answer),
        charts.hockey_stick(answer),
        charts.percentiles(answer),
        charts.ladder(answer),
        charts.errors(answer),
        charts.bars(
            answer, "cpu", "CPU time of the server for one request", "milliseconds", [c.cpu_ms_per_request if c else None for c in cost]
        ),
        charts.bars(answer, "memory", "Memory of the server", "MiB", [c.memory_mib if c else None for c in cost]),
    ]
    return {"answer": answer, "charts": [chart for chart in drawn if chart], "cost": cost}


def _below_knee(seen: Seen) -> AtRate | None:
    rates = [rate for rate in seen.rates if rate.load < 1]
    return rates[-1] if rates else None


def _heat(judged: Results) -> list[dict[str, Any]]:
    """Return one row for each candidate: its throughput in each workload as a share of the best one's."""
    rows = []
    for number, candidate in enumerate(judged.manifest.candidates):
        cells = []
        for answer in judged.answers:
            best = max((seen.throughput.ratio for seen in answer.seen if seen.throughput), default=0.0)
            own = answer.seen[number].throughput
            share = own.ratio / best if own and best else None
            # Five steps, each with its text: the colour alone says nothing.
            step = None if share is None else min(int(share * 5), 4)
            cells.append({"answer": answer, "share": share, "step": step, "recommended": answer.recommended == candidate.name})
        rows.append({"candidate": candidate, "cells": cells})
    return rows


def _strip(checks: tuple[Check, ...]) -> list[dict[str, Any]]:
    """Return the validity strip: for each workload its runs in order."""
    ordered = sorted(
        checks, key=lambda check: (check.cell.workload, check.cell.candidate, check.cell.kind, check.cell.block, check.cell.attempt)
    )
    return [{"workload": workload, "checks": list(group)} for workload, group in groupby(ordered, key=lambda check: check.cell.workload)]
