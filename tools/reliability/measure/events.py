"""One event after the other under a steady load."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext

from tools.reliability.measure.event import Event
from tools.reliability.measure.load import Load
from tools.reliability.measure.samples import at_rest, sampling
from tools.reliability.measure.stacks import STACK_S, Options, gateway_address, let_run, outcome, ready, stack_for
from tools.reliability.records import LoadResult, Observation, Sample
from tools.stack.compose import ComposeStack

BEFORE_S = 5.0
# Starting, being ready again and closing the ledger, per event.
AROUND_S = 8.0
# Added when the fault is one of the slow service: one visitor in six.
LAB_MIX = {"caller": 1.0}


def lasts_s(options: Options) -> float:
    return len(options.classes) * (STACK_S + sum(map(_event_s, options.events)))


def _event_s(event: Event) -> float:
    return BEFORE_S + event.lasts_s + event.after_s + AROUND_S + (STACK_S / 2 if event.prepare else 0)


def run(options: Options, say: Callable[[str], None]) -> Iterator[Observation]:
    """Let every event happen to a stack of each class; yields what was seen as it comes."""
    left_s, number = lasts_s(options), 0
    for worker_class in options.classes:
        with stack_for(options, worker_class) as stack:
            left_s -= STACK_S
            for event in options.events:
                number += 1
                place = f"{number}/{len(options.classes) * len(options.events)}"
                say(f"[{place}, about {left_s / 60:.0f} min left] {worker_class}: {event.title} ...")
                yield observe(stack, event, options, worker_class)
                left_s -= _event_s(event)


def observe(stack: ComposeStack, event: Event, options: Options, worker_class: str, others: Sequence[LoadResult] = ()) -> Observation:
    """Let one event happen under load; `others`: loads of its own, which it adds to."""
    if event.prepare:
        event.prepare(stack)
    ready(stack)
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    visitors = {**options.mix, **(LAB_MIX if event.lab else {})}
    url = stack.url if event.moves_gateway else gateway_address(stack)
    before = at_rest(stack.name) if event.watched else {}
    load = Load(url, rate_per_s=options.rate_per_s, mix=visitors, cpus=options.cpus, keep_alive=options.kind == "releases")
    samples: list[Sample] = []
    with sampling(stack.name, samples) if event.watched else nullcontext(), load:
        let_run(BEFORE_S)
        began_s = time.monotonic()
        event.begin(stack)
        if event.end:
            let_run(event.lasts_s - (time.monotonic() - began_s))
            event.end(stack)
        ended_s = time.monotonic()
        let_run(event.after_s)
    ready(stack)
    after = at_rest(stack.name, before) if event.watched else {}
    seen = outcome(stack, [load.result(), *others], since)
    if event.clear:
        event.clear(stack)
    seen |= {"before": before, "after": after, "samples": samples}
    return Observation(**options.facts(worker_class, event), began_s=began_s, ended_s=ended_s, **seen)
