"""What became of an event, in words."""

from __future__ import annotations

import math

from loadtest.report.words import milliseconds
from tools.reliability.judge.figures import EventFigures, OverloadFigures, SoakFigures

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


def last_failure(one: EventFigures) -> str:
    """Say when the last request that failed was sent; "-": none failed."""
    last_s = one.effect.last_failure_s
    return "-" if last_s is None else moment(last_s - (one.record.ended_s - one.record.began_s), "end")


def said(one: EventFigures) -> str:
    """Say in one sentence what happened."""
    parts = _overload(one) if isinstance(one, OverloadFigures) else _soak(one) if isinstance(one, SoakFigures) else _event(one)
    if one.record.dropped:
        parts.insert(1, f"{one.record.dropped:,} more were not sent, because so many were open")
    return "; ".join([*parts, "ledger holds" if one.balance.holds else f"LEDGER BROKEN: {one.balance}"])


def _event(one: EventFigures) -> list[str]:
    last_s = one.effect.last_failure_s
    when = "" if last_s is None else f" (the last was sent {moment(last_s, 'start')}, {last_failure(one)})"
    return [f"{one.failed:,} of {one.effect.requests:,} requests failed{when}"]


def _overload(one: OverloadFigures) -> list[str]:
    median_s, p99_s = one.refused_after_s
    return [
        f"peak {one.peak_per_s:.0f}/s; of {one.offered_per_s:.0f}/s then {one.goodput_per_s:.0f}/s were answered in time",
        f"{one.share:.0%} of the peak",
        f"refused: {kinds(one.refused)} (median {ms(median_s)}, p99 {ms(p99_s)})",
        f"slowest right answer {ms(one.slowest_right_s)}",
        f"back to normal {one.recovery_s:.1f} s after the end" if math.isfinite(one.recovery_s) else "no request afterwards",
        f"{one.record.steal_share:.0%} of the time was taken by other guests of the host",
    ]


def _soak(one: SoakFigures) -> list[str]:
    left = ", ".join(f"{service}: {name.replace('_', ' ')} {before} before, {after} after" for service, name, before, after in one.leaks)
    lasted_s = one.record.loads[0].stopped_s - one.record.loads[0].started_s
    parts = [
        f"{one.failed:,} of {one.effect.requests:,} requests failed in {lasted_s / 60:.1f} minutes",
        f"{len(one.record.rollouts)} rollouts, at least {one.lives[1]} workers recycled",
        f"left behind: {left or 'nothing'}",
        f"memory grows: {', '.join(one.grown)}" if one.grown else "memory does not grow",
    ]
    return [*parts, f"ended early: {one.record.problem}"] if one.record.problem else parts
