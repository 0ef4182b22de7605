"""Faults under load in the short form; `make chaos` has the long one, with every fault, every worker class and the full rate."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.conftest import StackFactory
from tools.reliability.judge.figures import EventFigures
from tools.reliability.measure.events import observe
from tools.reliability.measure.faults import FAULTS, MIX
from tools.reliability.measure.stacks import Options
from tools.reliability.report.words import said
from tools.stack.compose import ComposeStack

pytestmark = [pytest.mark.runtimes("compose"), pytest.mark.xdist_group("faults")]

RATE_PER_S = 5
AFTER_S = 12.0
Inject = Callable[[str], EventFigures]
OPTIONS = Options("faults", [], MIX, "", "", ["gthread"], RATE_PER_S, 2, "Off", "128")


@pytest.fixture
def strike(stack_factory: StackFactory) -> Inject:
    """Return a function that injects one fault and returns its figures."""

    def act(name: str) -> EventFigures:
        stack = stack_factory({"LIMITS": "off", "APP_REPLICAS": "2", "LAB_ENABLED": "0"})
        assert isinstance(stack, ComposeStack)
        fault = FAULTS[name]
        seen = EventFigures(observe(stack, replace(fault, after_s=min(fault.after_s, AFTER_S)), OPTIONS, "gthread"))
        assert seen.balance.holds, said(seen)
        assert seen.balance.acknowledged > 0
        return seen

    return act


def harm(seen: EventFigures) -> dict[str, int]:
    """Return the failures by kind, without 503: that is the app's own answer when the database is slow, on a busy machine."""
    return {kind: count for kind, count in seen.effect.failed.items() if not kind.endswith("status 503")}


def test_after_a_power_cut_every_acknowledged_write_is_there(strike: Inject) -> None:
    assert harm(strike("power-cut"))


@pytest.mark.bench
def test_a_killed_container_costs_only_what_it_had_in_work(strike: Inject) -> None:
    """GET is tried again; a POST that was on its way to it may have been carried out, and is not."""
    assert set(harm(strike("kill-container"))) <= {"POST status 502"}


@pytest.mark.bench
@pytest.mark.parametrize("name", ["full-disk", "no-dns", "nothing"])
def test_what_does_not_concern_small_requests_costs_none(strike: Inject, name: str) -> None:
    assert harm(strike(name)) == {}


@pytest.mark.bench
def test_without_the_database_there_is_503_and_nothing_else(strike: Inject) -> None:
    seen = strike("database-away")

    assert harm(seen) == {}
    assert {"GET status 503", "POST status 503"} <= set(seen.effect.failed)
