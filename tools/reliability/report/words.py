"""What became of an event, in words."""

import math

from loadtest.report.words import milliseconds
from tools.reliability.judge.figures import EventFigures

MIB = 2**20


def ms(seconds: float) -> str:
    """Return a time of seconds as milliseconds, or "-"."""
    return "-" if math.isnan(seconds) else milliseconds(seconds * 1e3)


def mib(amount: float) -> str:
    """Return bytes as MiB, or "-"."""
    return "-" if math.isnan(amount) else f"{round(amount / MIB, 2) + 0.0:.2f}"


def moment(after_s: float, of: str) -> str:
    """Say when something was: "at its end", "1.2 s before its end"."""
    return f"at its {of}" if abs(after_s) < 0.05 else f"{abs(after_s):.1f} s {'after' if after_s > 0 else 'before'} its {of}"  # noqa: PLR2004


def kinds(counts: dict[str, int]) -> str:
    """Return "3 POST status 502, 1 GET timeout", or "none"."""
    return ", ".join(f"{count} {kind}" for kind, count in counts.items()) or "none"


def said(one: EventFigures) -> str:
    """Say in one sentence what happened."""
    last_s, lasted_s = one.effect.last_failure_s, one.record.ended_s - one.record.began_s
    when = "" if last_s is None else f" (the last was sent {moment(last_s, 'start')}, {moment(last_s - lasted_s, 'end')})"
    parts = [f"{one.failed:,} of {one.effect.requests:,} requests failed{when}"]
    if one.record.dropped:
        parts.append(f"{one.record.dropped:,} more were not sent, because so many were open")
    if one.record.before:
        left = ", ".join(f"{service}: {name} {before} before, {after} after" for service, name, before, after in one.leaks)
        parts += [f"left behind: {left or 'nothing'}", f"memory grows: {', '.join(one.grown) or 'no'}"]
    return "; ".join([*parts, "ledger holds" if one.balance.holds else f"LEDGER BROKEN: {one.balance}"])
