"""Apply the rules to the facts, and write what they found: as text for a terminal of 80 columns, and as JSON."""

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from tools.doctor.facts import Facts
from tools.doctor.rules import Judge, Judgement, Verdict
from tools.doctor.values import NotKnown

WIDTH, INDENT = 80, " " * 13  # "not checked" and two blanks
LONGEST_VALUE = 100  # JSON has it whole
SEVERITY = (Verdict.NOT_APPLICABLE, Verdict.NOT_CHECKED, Verdict.OK, Verdict.WARN, Verdict.BROKEN)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule says of the files, and of what runs when something does."""

    rule: str
    title: str
    why: str
    files: Judgement
    running: Judgement | None

    @property
    def verdict(self) -> Verdict:
        """The worse of the two."""
        verdicts = [self.files.verdict, *([self.running.verdict] if self.running else [])]
        return max(verdicts, key=SEVERITY.index)


def judge(rules: Mapping[str, Judge], files: Facts, running: Facts | None) -> list[Finding]:
    """Return one finding for each rule, in their order. Pure: the same facts give the same findings."""
    found = []
    for name, rule in rules.items():
        title, _, why = str(rule.__doc__).removesuffix(".").partition(". Else ")
        found.append(Finding(name, title, why, _apply(rule, files), _apply(rule, running) if running else None))
    return found


def _apply(rule: Judge, facts: Facts) -> Judgement:
    try:
        return rule(facts)
    except NotKnown as reason:
        return Judgement(Verdict.NOT_CHECKED, str(reason))


def text(folder: str, runs: str, findings: Sequence[Finding]) -> Iterator[str]:
    yield folder
    yield from _wrapped(f"running: {runs}", "")
    for finding in findings:
        yield f"{finding.verdict:<13}{finding.rule}"
        yield from _wrapped(finding.title, INDENT)
        if finding.verdict in {Verdict.BROKEN, Verdict.WARN}:
            yield from _wrapped(f"else: {finding.why}", INDENT)
        same = finding.running is None or (finding.files.verdict, finding.files.says) == (finding.running.verdict, finding.running.says)
        yield from _judgement(finding.files, "" if same else "files: ")
        if finding.running and not same:
            yield from _judgement(finding.running, "running: ")
    counted = Counter(finding.verdict for finding in findings)
    yield "\n" + ", ".join(f"{counted[verdict]} {verdict}" for verdict in reversed(SEVERITY) if counted[verdict])


def _judgement(judgement: Judgement, prefix: str) -> Iterator[str]:
    yield from _wrapped(f"{prefix}{f'{judgement.verdict}: ' if prefix else ''}{judgement.says}", INDENT)
    for value in judgement.values:
        shown = textwrap.shorten(value.shown, LONGEST_VALUE, placeholder=" ...")
        yield from _wrapped(f"{value.name} {shown}  [{value.origin}]", INDENT + "  ")
    for place in judgement.edit:
        yield from _wrapped(f"edit: {place}", INDENT + "  ")


def _wrapped(words: str, indent: str) -> list[str]:
    after = indent + "  "
    return textwrap.wrap(words, WIDTH, initial_indent=indent, subsequent_indent=after, break_long_words=False, break_on_hyphens=False)


def as_json(folder: str, runs: str, findings: Iterable[Finding]) -> dict[str, Any]:
    """Return the same for a program: every judgement with its values, as they are shown, and where they are written."""
    shown = partial(asdict, dict_factory=lambda pairs: {name: value for name, value in pairs if name != "value"})
    return {"folder": folder, "running": runs, "rules": [{**shown(one), "verdict": one.verdict} for one in findings]}
