"""One fault after the other under a steady load; what is kept of each is written as JSON at once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from reliability.faults import FAULTS, Fault
from reliability.ledger import reconcile, stored_writes
from reliability.load import Load, Outcome
from reliability.timeline import effect, seconds
from stack import StackError, open_stack
from stack.compose import ComposeStack
from stack.machine import free_ports
from stack.waiting import answers_ok, ready_path, wait_until

BEFORE_S = 5.0
MIX = {"reader": 2.0, "writer": 2.0, "static": 1.0}
OPERATOR_LINES = 6
# Words of the lines that an operator would look for.
TELLING = ("[error]", "[alert]", "[crit]", '"ERROR"', '"CRITICAL"', '"WARNING"', "FATAL", "PANIC", "level=error")


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for."""

    classes: Sequence[str]
    faults: Sequence[str]
    rate_per_s: float
    replicas: int
    build: bool = True


def run(wish: Wish, folder: Path, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Inject every fault into a stack of each class; returns the records, which are written to `folder` as they come."""
    records = []
    for worker_class in wish.classes:
        settings = {
            "GATEWAY_PORT": str(free_ports(1)[0]),
            "LIMITS": "off",
            "APP_REPLICAS": str(wish.replicas),
            "GUNICORN_WORKER_CLASS": worker_class,
        }
        stack = open_stack("compose", name=f"kit-chaos-{worker_class}", env=settings)
        if not isinstance(stack, ComposeStack):
            raise StackError("faults are injected into containers", hint="start Docker")
        try:
            stack.up(build=wish.build)
            for name in wish.faults:
                record = {
                    "worker_class": worker_class,
                    "rate_per_s": wish.rate_per_s,
                    **inject(stack, FAULTS[name], wish.rate_per_s, folder),
                }
                records.append(record)
                (folder / f"{worker_class}-{name}.json").write_text(json.dumps(record, indent=1))
                say(f"{worker_class}, {record['title']}: {record['said']}")
        finally:
            stack.down(volumes=True)
    return records


def inject(stack: ComposeStack, fault: Fault, rate_per_s: float, folder: Path) -> dict[str, Any]:
    """Inject one fault under load and return what it did, as JSON values."""
    _ready(stack)
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with Load(stack.url, folder, rate_per_s=rate_per_s, mix=MIX) as load:
        _pass(BEFORE_S)
        began_s = time.monotonic()
        fault.begin(stack)
        ended_s = began_s
        if fault.end:
            _pass(fault.lasts_s - (time.monotonic() - began_s))
            fault.end(stack)
            ended_s = time.monotonic()
        _pass(fault.after_s)
    _ready(stack)
    seen = load.result()
    balance = reconcile(seen.writes, stored_writes(stack))
    return {
        "fault": fault.name,
        "title": fault.title,
        "expect": fault.expect,
        "began_s": began_s - seen.started_s,
        "ended_s": ended_s - seen.started_s,
        "seconds": [asdict(second) for second in seconds(seen.requests, seen.started_s, seen.stopped_s)],
        "effect": asdict(effect(seen.requests, began_s)),
        "ledger": {**asdict(balance), "holds": balance.holds},
        "dropped": seen.dropped,
        "operator": _told(stack, since),
        "said": _sentence(seen, balance.holds, began_s, ended_s),
    }


def _sentence(seen: Outcome, holds: bool, began_s: float, ended_s: float) -> str:  # noqa: FBT001 - one value of two
    failed = seen.failed
    words = f"{len(failed)} of {len(seen.requests)} requests failed"
    if failed:
        last_s = max(request.due_s for request in failed)
        words += f" (the last was sent {last_s - began_s:.1f} s after it began"
        words += f", {last_s - ended_s:+.1f} s from its end)" if ended_s > began_s else ")"
    return words + ("; ledger holds" if holds else "; LEDGER BROKEN")


def _told(stack: ComposeStack, since: str) -> list[str]:
    """The first telling lines of the logs since then: what an operator saw."""
    lines = stack.compose("logs", "--no-color", "--since", since).stdout.splitlines()
    return [line[:300] for line in lines if any(word in line for word in TELLING)][:OPERATOR_LINES]


def _ready(stack: ComposeStack) -> None:
    url = stack.url + ready_path(stack.settings)
    wait_until(lambda: answers_ok(url, stack.settings), 90, "the stack is not ready again")
    wait_until(
        lambda: all(unit.state == "healthy" for unit in stack.units() if unit.service in {"app", "gateway", "database"}), 90, "not healthy"
    )


def _pass(duration_s: float) -> None:
    """Let the load run: this is the measured time itself, not a wait for something."""
    time.sleep(max(duration_s, 0))
