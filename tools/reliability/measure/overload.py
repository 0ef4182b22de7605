"""Overload: the most that a stack answers in time, and then so many times as many requests."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from tools.reliability.judge.timeline import goodput
from tools.reliability.measure.event import Event
from tools.reliability.measure.events import observe
from tools.reliability.measure.load import Load
from tools.reliability.measure.stacks import STACK_S, Options, gateway_address, keep_apart, let_run, ready, stack_for
from tools.reliability.records import LoadResult, Observation
from tools.stack.compose import ComposeStack

# The ladder to the peak: from the first rate up, each step for so long, until on two steps in a row less than this share of what is
# asked is answered in time. On one alone it may be the machine, or workers that are not warm yet.
STEP, STEP_S = 1.4, 8.0
ENOUGH, SHORT_STEPS = 0.8, 2
HIGHEST_PER_S = 2000.0
# The load before, during and after the overload, as a share of the peak: when it is served again, the site has recovered.
CALM = 0.3


def lasts_s(options: Options, overload_s: float) -> float:
    """About how long it takes in all; how many steps the ladder takes is not known before."""
    return len(options.classes) * (STACK_S + 7 * (STEP_S + 4.0) + overload_s + 32.0)


def run(options: Options, factor: float, overload_s: float, say: Callable[[str], None]) -> Iterator[Observation]:
    """Overload a stack of each class; yields what was seen. options.rate_per_s: the first step of the ladder."""
    for worker_class in options.classes:
        say(f"{worker_class}: starting a stack of its own ...")
        with stack_for(options, worker_class) as stack:
            ready(stack)
            yield _overload(stack, replace(options, cpus=keep_apart(stack)), factor, overload_s, worker_class=worker_class, say=say)


def _overload(
    stack: ComposeStack, options: Options, factor: float, overload_s: float, *, worker_class: str, say: Callable[[str], None]
) -> Observation:
    url = gateway_address(stack)
    peak_per_s = max(_ladder(url, options, say))
    many: list[LoadResult] = []

    def begin(_: ComposeStack) -> None:
        with Load(url, rate_per_s=(factor - CALM) * peak_per_s, mix=options.mix, seed=2, cpus=options.cpus) as load:
            let_run(overload_s)
        many.append(load.result())

    title = f"{factor:g} times the peak of {peak_per_s:.0f}/s"
    say(f"    {title} for {overload_s:g} s ...")
    event = Event("overload", title, "what cannot be answered in time, with 503", begin, after_s=12.0)
    seen = observe(stack, event, replace(options, rate_per_s=round(CALM * peak_per_s, 1)), worker_class, many)
    return replace(seen, began_s=many[0].started_s, ended_s=many[0].stopped_s)


def _ladder(url: str, options: Options, say: Callable[[str], None]) -> Iterator[float]:
    """Yield what is answered in time, per second, on each step."""
    short, rate_per_s = 0, options.rate_per_s
    while rate_per_s <= HIGHEST_PER_S and short < SHORT_STEPS:
        with Load(url, rate_per_s=rate_per_s, mix=options.mix, cpus=options.cpus) as load:
            let_run(STEP_S)
        seen = load.result()
        answered_per_s = goodput(seen.requests, seen.started_s, seen.stopped_s)
        say(f"    {rate_per_s:.0f}/s asked, {answered_per_s:.0f}/s answered in time")
        yield answered_per_s
        short = short + 1 if answered_per_s < ENOUGH * rate_per_s else 0
        rate_per_s *= STEP
