"""The answers as JSON, for programs: the figures of the report without its drawings."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

from loadtest.inference import Interval
from loadtest.records import FORMAT
from loadtest.verdicts import CURVE, Answer, AtRate, Pair, Results, Seen


def summary_json(judged: Results) -> str:
    """Return the summary; intervals are [low, value, high], what cannot be said is null."""
    return json.dumps(summary(judged), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def summary(judged: Results) -> dict[str, Any]:
    """Return the summary as plain data."""
    plan = judged.manifest
    return {
        "format": FORMAT,
        "run": plan.run,
        "synthetic": plan.synthetic,
        "created": plan.created,
        "command": plan.command,
        "profile": plan.profile,
        "gives_verdict": plan.gives_verdict,
        "seed": plan.seed,
        "blocks": plan.blocks,
        "margin": plan.margin,
        "confidence": plan.confidence,
        "machine": asdict(plan.machine),
        "runs": {
            "all": len(judged.checks),
            "invalid": sum(bool(check.cell.invalid) for check in judged.checks),
            "missing": judged.missing,
        },
        "curve_quantiles": CURVE,
        "workloads": {answer.workload.name: _answer(answer) for answer in judged.answers},
    }


def _answer(answer: Answer) -> dict[str, Any]:
    return {
        "slo_ms": answer.workload.slo_ms,
        "judged": answer.workload.judged,
        "recommended": answer.recommended,
        "sentence": answer.sentence,
        "smallest_difference_seen": _number(answer.sees),
        "notes": answer.notes,
        "candidates": {seen.candidate.name: _seen(seen) for seen in answer.seen},
        "pairs": [_pair(pair) for pair in answer.pairs],
    }


def _seen(seen: Seen) -> dict[str, Any]:
    return {
        "title": seen.candidate.title,
        "slots": seen.candidate.slots,
        "throughput_per_s": _interval(seen.throughput),
        "throughput_runs_per_s": list(seen.knees_per_s.values()),
        "ratio_to_baseline": _interval(seen.against_baseline),
        "verdict": seen.verdict,
        "failed": seen.failed,
        "invalid": seen.invalid,
        "ladder_per_s": seen.ladder,
        "scaling": asdict(seen.scaling) if seen.scaling else None,
        "rates": [_rate(rate) for rate in seen.rates],
    }


def _rate(rate: AtRate) -> dict[str, Any]:
    return {
        name: _interval(value) if isinstance(value, Interval) else _number(value) if isinstance(value, float) else value
        for name, value in vars(rate).items()
    }


def _pair(pair: Pair) -> dict[str, Any]:
    return {"base": pair.base, "other": pair.other, "ratio": _interval(pair.interval), "verdict": pair.verdict}


def _interval(interval: Interval | None) -> list[float] | None:
    return [interval.low, interval.ratio, interval.high] if interval else None


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
