"""Findings as text for a terminal of 80 columns, and as JSON. Builds lines; the caller prints them."""

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import click

from tools.doctor.judge import Finding
from tools.doctor.rules.base import Judgement, Verdict
from tools.doctor.values import Setting

WIDTH = 80
# "not checked" and two blanks.
VERDICT_WIDTH = 13
# A log format would fill the screen; JSON has it whole.
LONGEST_VALUE = 100
INDENT = " " * VERDICT_WIDTH
COLOURS = {
    Verdict.OK: "green",
    Verdict.BROKEN: "red",
    Verdict.WARN: "yellow",
    Verdict.NOT_APPLICABLE: "bright_black",
    Verdict.NOT_CHECKED: "cyan",
}


@dataclass(frozen=True, slots=True)
class Subject:
    """What was looked at: the folder, the Compose files, the runtime, and what runs of it (or why nothing does)."""

    folder: str
    files: tuple[str, ...]
    runtime: str
    running: str


def text(subject: Subject, findings: Sequence[Finding]) -> Iterator[str]:
    """The whole report; colours are there for a terminal, `click.echo` takes them out elsewhere."""
    yield f"{subject.folder}: {', '.join(subject.files)}; judged as {subject.runtime}"
    yield from _wrapped(f"running: {subject.running}", "")
    yield ""
    for finding in findings:
        yield from _finding(finding)
    yield ""
    yield summary(findings)


def summary(findings: Sequence[Finding]) -> str:
    """How many rules ended in which way."""
    counted = Counter(finding.verdict for finding in findings)
    order = (Verdict.BROKEN, Verdict.WARN, Verdict.OK, Verdict.NOT_APPLICABLE, Verdict.NOT_CHECKED)
    return ", ".join(_colour(verdict, f"{counted[verdict]} {verdict}") for verdict in order if counted[verdict])


def _finding(finding: Finding) -> Iterator[str]:
    yield f"{_label(finding.verdict)}{click.style(finding.rule.id, bold=True)}"
    yield from _wrapped(finding.rule.title, INDENT)
    if finding.verdict in {Verdict.BROKEN, Verdict.WARN}:
        yield from _wrapped(f"why: {finding.rule.why}", INDENT)
    if finding.running is None or _same(finding.files, finding.running):
        yield from _judgement(finding.files, "", finding.verdict)
        return
    yield from _judgement(finding.files, "files: ", finding.verdict)
    yield from _judgement(finding.running, "running: ", finding.verdict)


def _same(one: Judgement, other: Judgement) -> bool:
    return (one.verdict, one.says) == (other.verdict, other.says)


def _judgement(judgement: Judgement, prefix: str, headline: Verdict) -> Iterator[str]:
    verdict = f"{judgement.verdict}: " if prefix and judgement.verdict is not headline else ""
    yield from _wrapped(f"{prefix}{verdict}{judgement.says}", INDENT)
    for value in judgement.values:
        shown = textwrap.shorten(value.shown, LONGEST_VALUE, placeholder=" ...")
        yield from _wrapped(f"{value.name} {shown}  [{value.origin}]", INDENT + "  ")
    if judgement.verdict in {Verdict.BROKEN, Verdict.WARN}:
        for place in judgement.edit:
            yield from _wrapped(f"edit: {place}", INDENT + "  ")


def _label(verdict: Verdict) -> str:
    return _colour(verdict, f"{verdict:<{VERDICT_WIDTH}}")


def _colour(verdict: Verdict, text: str) -> str:
    return click.style(text, fg=COLOURS[verdict], bold=verdict is Verdict.BROKEN)


def _wrapped(text: str, indent: str) -> Iterable[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=indent, subsequent_indent=indent + "  ", break_long_words=False, break_on_hyphens=False
    )


def as_json(subject: Subject, findings: Sequence[Finding]) -> dict[str, Any]:
    """The same facts for a program: every judgement with its values and their places."""
    return {
        "folder": subject.folder,
        "files": list(subject.files),
        "runtime": subject.runtime,
        "running": subject.running,
        "rules": [_finding_as_json(finding) for finding in findings],
    }


def _finding_as_json(finding: Finding) -> dict[str, Any]:
    return {
        "id": finding.rule.id,
        "title": finding.rule.title,
        "why": finding.rule.why,
        "verdict": str(finding.verdict),
        "files": _judgement_as_json(finding.files),
        "running": _judgement_as_json(finding.running) if finding.running else None,
    }


def _judgement_as_json(judgement: Judgement) -> dict[str, Any]:
    return {
        "verdict": str(judgement.verdict),
        "says": judgement.says,
        "values": [_value_as_json(value) for value in judgement.values],
        "edit": list(judgement.edit),
    }


def _value_as_json(value: Setting[Any]) -> dict[str, Any]:
    return {
        "name": value.name,
        "shown": value.shown,
        "place": value.origin.place,
        "line": value.origin.line,
        "note": value.origin.note,
    }
