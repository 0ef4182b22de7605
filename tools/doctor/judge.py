"""Apply every rule to what was gathered. Pure: the same facts give the same findings."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tools.doctor.facts import Facts
from tools.doctor.rules.base import Judgement, Rule, Topic, Verdict
from tools.doctor.values import NotKnown


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule says of the files, and of what runs when something does."""

    rule: Topic
    files: Judgement
    running: Judgement | None = None

    @property
    def verdict(self) -> Verdict:
        """The worse of the two."""
        judgements = [self.files, *([self.running] if self.running else [])]
        return max((judgement.verdict for judgement in judgements), key=SEVERITY.index)


SEVERITY = (Verdict.NOT_APPLICABLE, Verdict.NOT_CHECKED, Verdict.OK, Verdict.WARN, Verdict.BROKEN)


def judge(rules: Iterable[Rule], files: Facts, running: Facts | None) -> tuple[Finding, ...]:
    """One finding for each rule, in their order."""
    return tuple(Finding(rule, _apply(rule, files), _apply(rule, running) if running else None) for rule in rules)


def _apply(rule: Rule, facts: Facts) -> Judgement:
    try:
        return rule.judge(facts)
    except NotKnown as reason:
        return Judgement(Verdict.NOT_CHECKED, str(reason))


def any_broken(findings: Sequence[Finding]) -> bool:
    """Whether the kit disagrees with itself somewhere."""
    return any(finding.verdict is Verdict.BROKEN for finding in findings)
