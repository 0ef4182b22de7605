"""What a rule is, and the few shapes that judgements take."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tools.doctor.facts import Facts, Nginx, Service, need
from tools.doctor.tree import Node, Scope, behind_the_edge, proxied
from tools.doctor.values import NotKnown, Origin, Setting


class Verdict(StrEnum):
    """How a rule ended. NOT_APPLICABLE: the question does not arise; NOT_CHECKED: nobody could answer it."""

    OK = "ok"
    BROKEN = "BROKEN"
    WARN = "warn"
    NOT_APPLICABLE = "n/a"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True, slots=True)
class Judgement:
    """One line of what was found, the values it rests on, and where to change it."""

    verdict: Verdict
    says: str
    values: tuple[Setting[Any], ...] = ()
    edit: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Topic:
    """What a finding is about; `why` is the consequence, in one sentence, of breaking what `title` asks for."""

    id: str
    title: str
    why: str


@dataclass(frozen=True, slots=True)
class Rule(Topic):
    """A topic that can be judged from the facts of one stack; `judge` raises NotKnown when a fact is missing."""

    judge: Callable[[Facts], Judgement]


def ok(says: str, *values: Setting[Any]) -> Judgement:
    return Judgement(Verdict.OK, says, values)


def not_applicable(says: str, *values: Setting[Any]) -> Judgement:
    return Judgement(Verdict.NOT_APPLICABLE, says, values)


def broken(says: str, *values: Setting[Any], edit: Sequence[str] = ()) -> Judgement:
    return Judgement(Verdict.BROKEN, says, values, tuple(edit) or places(values))


def warn(says: str, *values: Setting[Any], edit: Sequence[str] = ()) -> Judgement:
    return Judgement(Verdict.WARN, says, values, tuple(edit) or places(values))


def places(values: Iterable[Setting[Any]]) -> tuple[str, ...]:
    """`setting in file:line` for each value that somebody wrote; a default is changed by writing it."""
    written = [f"{value.name} in {value.origin}" for value in values if value.editable]
    return tuple(dict.fromkeys(written))


def below(smaller: Setting[float], larger: Setting[float]) -> Judgement:
    """Judge `smaller < larger`."""
    if smaller.value < larger.value:
        return ok(f"{smaller.shown} < {larger.shown}", smaller, larger)
    return broken(f"{smaller.shown} is not below {larger.shown}", smaller, larger)


def directive(scope: Scope, name: str, default: str, read: Callable[[str], Any], show: Callable[[Any], str] = str) -> Setting[Any]:
    """The first argument of the directive in force at `scope`, or nginx's default for it."""
    node = scope.find(name)
    if node is None:
        value = read(default)
        return Setting(name, value, show(value), Origin("nginx's default"), editable=False)
    return from_node(node, read(node.args[0]), show)


def from_node(node: Node, value: Any, show: Callable[[Any], str] = str) -> Setting[Any]:
    """A setting that stands at a directive of the configuration."""
    return Setting(node.name, value, show(value), node.origin)


def handing_on(nginx: Nginx) -> tuple[Scope, ...]:
    """The places that proxy; NotKnown when the configuration has none, because then no rule means anything."""
    found = proxied(nginx.tree)
    if not found:
        raise NotKnown("the nginx configuration hands no request on (no proxy_pass)")
    return found


def at_the_edge(nginx: Nginx) -> tuple[Scope, ...]:
    """Those of them that clients reach, not the ones behind the hop to the firewall."""
    return tuple(scope for scope in handing_on(nginx) if not behind_the_edge(scope))


def worst(
    nginx: Nginx,
    name: str,
    default: str,
    read: Callable[[str], Any],
    show: Callable[[Any], str],
    *,
    pick: Callable[..., Setting[Any]] = min,
    places: Callable[[Nginx], tuple[Scope, ...]] = handing_on,
) -> Setting[Any]:
    """The smallest (or by `pick=max` the largest) value of a directive over all places that proxy."""
    settings = [directive(scope, name, default, read, show) for scope in places(nginx)]
    return pick(settings, key=lambda setting: setting.value)


def each_service(facts: Facts, wrong: Callable[[Service], Setting[Any] | None], *, only_long_running: bool = False) -> Judgement:
    """Judge every service by `wrong`, which gives the offending value or None."""
    services = [s for s in need(facts.compose).services.values() if not (only_long_running and s.one_shot)]
    offending = [(service, value) for service in services if (value := wrong(service)) is not None]
    if not offending:
        return ok("all of them")
    values = tuple(Setting(f"{service.name}: {value.name}", value.value, value.shown, value.origin) for service, value in offending)
    return broken(", ".join(service.name for service, _ in offending), *values)
