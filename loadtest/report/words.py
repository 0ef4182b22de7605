"""What was judged, in words: numbers with as many digits as they deserve and always their unit, reasons, notes, sentences."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from loadtest.judge.answers import MOST_INVALID, Answer, CandidateAnswer, Failure, Pair, RunAnswers
from loadtest.judge.difference import Difference
from loadtest.judge.inference import FEWEST_BLOCKS, Comparison, Interval
from loadtest.judge.plausibility import Note, NoteKind
from loadtest.judge.validity import Gate, Problem
from loadtest.records.model import Manifest

COMPARISONS = {
    Comparison.HIGHER: "more",
    Comparison.LOWER: "less",
    Comparison.TIE: "tie",
    Comparison.UNDECIDED: "no difference shown",
    None: "cannot tell",
}
_PROBLEMS = {
    Gate.GENERATOR_CPU: "the generator used {0:.0%} of a core (limit {1:.0%})",
    Gate.GENERATOR_LATE: "the generator sent {0:.1%} of the requests more than {2} late (limit {1:.0%})",
    Gate.GENERATOR_BEHIND: "the generator got round to {0} of about {1:.0f} visitors",
    Gate.GENERATOR_FAILED: "the generator failed: {2}",
    Gate.STEAL: "the host took {0:.1%} of the processors (limit {1:.0%})",
    Gate.OTHERS: "other programs used {0:.2f} cores (limit {1:g})",
    Gate.IDLE_CANDIDATES: "candidates that had nothing to do used {0:.2f} cores (limit {1:g})",
    Gate.GATEWAY_CPU: "the gateway used {0:.0%} of a core (limit {1:.0%})",
    Gate.THROTTLED: "a quota stopped the server for {0:.1%} of the time (limit {1:.0%})",
    Gate.GATEWAY_ERRORS: "the gateway answered in the server's place ({2})",
}
_NOTES = {
    NoteKind.CAPACITY: "gave {} answers in {:.1f} s, but {} slots and {:g} ms each allow {:.0f}: the work was not done, or the number of "
    "slots is wrong",
    NoteKind.LITTLE: "at {:.0f}/s: {:.1f} visitors on their way, Little's law expects {:.1f}; one of the two measurements is wrong",
    NoteKind.BLOCKING_DRIVER: "the database driver {} blocks, so one query stops all greenlets of its process",
    NoteKind.SMALL_POOL: "{} requests at once in a process share {} database connections; the others wait for one",
    NoteKind.TIRING: "the longer its processes live the less it carries: {:.2f} times as much in the second half of a block",
    NoteKind.TIMEOUT: "answers of {:.1f} s are above its timeout of {:g} s: it kills what it works on",
}


def count(value: float) -> str:
    """Return a number with three digits, thousands apart: 0.250, 12.5, 1,250; a whole number as it is."""
    if not math.isfinite(value):
        return "-"
    if isinstance(value, int) or value == 0:
        return f"{value:,.0f}"
    digits = max(2 - math.floor(math.log10(abs(float(f"{value:.3g}")))), 0)
    return f"{value:,.{digits}f}"


def milliseconds(value: float) -> str:
    """Return a time: 0.250 ms, 12.5 ms, 2.10 s."""
    if not math.isfinite(value):
        return "no answer"
    return f"{count(value / 1000)} s" if value >= 1000 else f"{count(value)} ms"  # noqa: PLR2004 - a second


def percent(share: float) -> str:
    """Return a share as per cent, in whole ones from 10 on: 0 %, 0.02 %, 2.3 %, 61 %."""
    value = share * 100
    return f"{value:.0f} %" if value >= 9.95 or value == 0 else f"{value:.1f} %" if value >= 0.95 else f"{value:.1g} %"  # noqa: PLR2004


def bound(share: float) -> str:
    """Return a share that was decided, not measured: 5 %, 0.1 %."""
    return f"{share * 100:g} %"


def interval(found: Interval) -> str:
    """Return "1,250 [1,100 to 1,400]"."""
    return f"{count(found.ratio)} [{count(found.low)} to {count(found.high)}]"


def ratio(found: Interval, text: str = "times") -> str:
    """Return "1.90 times [1.70 to 2.10]"."""
    return f"{found.ratio:.2f} {text} [{found.low:.2f} to {found.high:.2f}]"


def microseconds(found: Interval) -> str:
    """Return "410 µs [405 to 416]"."""
    return f"{count(found.ratio)} µs [{count(found.low)} to {count(found.high)}]"


def reasons(problems: Iterable[Problem]) -> str:
    """Return problems in one line: each gate once, with how many there are."""
    gates: dict[Gate, list[Problem]] = defaultdict(list)
    for problem in problems:
        gates[problem.gate].append(problem)
    texts = [(_PROBLEMS[gate].format(*found[0][1:]), len(found) - 1) for gate, found in gates.items()]
    return "; ".join(f"{text} and {more} more like this" if more else text for text, more in texts)


def note(found: Note) -> str:
    return f"{found.candidate}: {_NOTES[found.kind].format(*found.facts)}"


def failure(found: Failure, slo_ms: float) -> str:
    if found.mostly:
        return f"{percent(found.error_share)} errors at {found.rate_per_s:.0f}/s, mostly {found.mostly}"
    return f"too many slower than {slo_ms:g} ms at {found.rate_per_s:.0f}/s (the longest {milliseconds(found.longest_ms)})"


def resolution(answer: Answer) -> str:
    """Say what a workload's figures can show."""
    return f"this run sees {percent(answer.sees)} or more" if answer.sees is not None else "what this run could see is not known"


def sentence(manifest: Manifest, answer: Answer) -> str:
    """Say the answer in one sentence or two, with the interval."""
    best, margin = answer.recommended, bound(manifest.margin)
    if not manifest.gives_verdict:
        return f"No verdict: the profile {manifest.profile} only shows that everything works."
    all_, invalid = (sum(getattr(one, name) for one in answer.candidates) for name in ("slices", "invalid"))
    if invalid > MOST_INVALID * (all_ + invalid):
        return f"INVALID: {invalid} of {all_ + invalid} slices are not believed; why, is said under Validity."
    servers = [seen for seen in answer.candidates if not seen.candidate.limit]
    lost = [seen.candidate.name for seen in servers if seen.lost]
    short = [seen.candidate.name for seen in servers if len(seen.knees_per_s) < FEWEST_BLOCKS and not seen.lost]
    if best is None:
        why = f"fewer than {FEWEST_BLOCKS} blocks of {_list(short)}" if short else "no candidate held the objective to the end"
        return f"No verdict: {why}."
    found: dict[Comparison, list[Pair]] = defaultdict(list)
    for seen in servers:
        if pair := answer.between(seen.candidate.name, best):
            found[pair.comparison].append(pair)
    parts = [*_found(found, best, margin, answer)]
    if failed := [seen.candidate.name for seen in servers if seen.failure]:
        parts.append(f"{_list(failed)} did not hold the objective at any rate")
    if few := [name for name in short if name not in failed]:
        parts.append(f"too few blocks of {_list(few)}")
    if lost:
        parts.append(f"{_list(lost)} died on the way")
    return f"{best}: {'; '.join(parts) or 'the only candidate'}."


def _found(found: Mapping[Comparison, list[Pair]], best: str, margin: str, answer: Answer) -> Iterator[str]:
    if more := found[Comparison.HIGHER]:
        yield f"carries {_times(more)}, with p99 ≤ {answer.workload.slo_ms:g} ms"
    if less := found[Comparison.LOWER]:
        yield f"carries {_times(less)}, not shown to be more than {margin} less, and {best} is simpler"
    if ties := [pair.base + (" (by CPU time)" if pair.rests_on == "cpu" else "") for pair in found[Comparison.TIE]]:
        yield f"{_list(ties)} {'is' if len(ties) == 1 else 'are'} a tie (within ±{margin}), {best} is the simplest"
    if hidden := [pair.base for pair in found[Comparison.UNDECIDED]]:
        yield f"no difference shown to {_list(hidden)}; {resolution(answer)}, {best} is the simplest"


def _times(pairs: Sequence[Pair]) -> str:
    return _list(
        [ratio(p.interval, f"times as much as {p.base}") + (" by CPU time" if p.rests_on == "cpu" else "") for p in pairs if p.interval]
    )


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def moving(answer: Answer) -> Iterator[str]:
    """Yield for each set-up what moving to the recommended server would bring, and how far all are from the limit."""
    best = answer.recommended
    for seen in answer.candidates:
        name, pair = seen.candidate.name, answer.between(seen.candidate.name, best or "")
        if seen.candidate.limit:
            pairs = (answer.between(name, other.candidate.name) for other in answer.candidates)
            if shares := [f"{p.other} {ratio(p.interval)}" for p in pairs if p and p.interval]:
                yield f"Against {name}, the limit: {_list(shares)}"
        elif best:
            known = f"{ratio(pair.interval, 'times as much')}, {verdict(pair)}" if pair and pair.interval else ""
            brings = "nothing, no other was shown to carry more" if name == best else known or f"cannot tell, {throughput(answer, seen)}"
            yield f"From {seen.candidate.origin or seen.candidate.title} ({name}) to {best}: {brings}"


def throughput(answer: Answer, seen: CandidateAnswer) -> str:
    """Say what a candidate carries, or why that is not known."""
    if seen.lost:
        return f"died: {seen.lost.reason}"
    if seen.failure:
        return failure(seen.failure, answer.workload.slo_ms)
    return interval(seen.throughput) if seen.throughput else "no interval from so few blocks"


def verdict(pair: Pair | None) -> str:
    """Say what a pair's verdict is, and what it rests on."""
    if not pair or not pair.interval:
        return COMPARISONS[None]
    return COMPARISONS[pair.comparison] + (", by CPU time" if pair.rests_on == "cpu" else "")


def needs(answer: Answer) -> str:
    return "; ".join(f"{bound(share)} would need about {minutes:.0f} minutes" for share, minutes in answer.needs.items())


def difference(found: Difference) -> Iterator[str]:
    """Yield the comparison of two runs, line by line."""
    for change in found.changes:
        yield f"{change.workload}, {change.candidate}: {COMPARISONS[change.comparison]}, {ratio(change.interval)}"
    for work, pair, again in found.contradictions:
        calls = f"{COMPARISONS[pair.comparison]} in one run and {COMPARISONS[again.comparison]} in the other"
        yield f"CONTRADICTION: {work}: {pair.other} against {pair.base} is {calls}"
    for name, same in found.same_recommendation.items():
        yield f"{name}: {'the same' if same else 'NOT the same'} recommendation"


def plan(manifest: Manifest) -> Iterator[str]:
    """Yield the plan of a run, line by line: what, and how long."""
    pace, verdict = manifest.pace, manifest.gives_verdict and manifest.pace.blocks >= FEWEST_BLOCKS
    yield f"profile    {manifest.profile}, seed {manifest.seed}, runtime {manifest.machine.runtime}"
    yield f"candidates {', '.join(f'{c.name} ({c.slots or chr(8734)} slots)' for c in manifest.candidates)}"
    yield f"workloads  {', '.join(f'{w.name} (p99 <= {w.slo_ms:g} ms)' for w in manifest.workloads)}"
    yield f"time       {pace.minutes:.3g} minutes at most: {pace.blocks} blocks of {pace.rounds} rounds; less when all is decided before"
    if not verdict:
        yield "verdict    none: it only shows that everything works"


def answers(judged: RunAnswers) -> Iterator[str]:
    yield from (f"{answer.workload.name}: {sentence(judged.manifest, answer)}" for answer in judged.answers)
